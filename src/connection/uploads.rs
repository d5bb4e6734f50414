//! The streams a client is uploading (docs/builders/signalr-protocol.md#4.6).

use std::collections::HashMap;

use crate::hub::Upload;
use crate::hub::upload::UploadSender;
use crate::ids::InvocationId;
use crate::protocol::Outcome;

/// The open upload streams by their ids. The streams of a call are closed when it returns; items that arrive for a
/// closed stream are ignored.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    open: HashMap<InvocationId, OpenUpload>,
    /// The stream ids of each call that has not returned.
    calls: HashMap<u64, Vec<InvocationId>>,
    /// How many stream ids there are in `calls`.
    count: usize,
    /// The number of the latest call with uploads.
    last: u64,
}

#[derive(Debug)]
struct OpenUpload {
    /// The call it belongs to. A client may reuse an id at once, and the stream then belongs to another call.
    call: u64,
    /// The method reads the other end.
    stream: UploadSender,
}

impl Uploads {
    /// Opens the streams of one call, and returns the call's number for [`Uploads::close`].
    ///
    /// # Errors
    ///
    /// The first id that is already open; nothing is opened then.
    pub(super) fn open(&mut self, ids: &[InvocationId], capacity: usize) -> Result<(u64, Vec<Upload>), InvocationId> {
        for (index, id) in ids.iter().enumerate() {
            if self.open.contains_key(id) || ids[..index].contains(id) {
                return Err(id.clone());
            }
        }
        self.last += 1;
        let call = self.last;
        let uploads = ids.iter().map(|id| {
            let (stream, upload) = Upload::new(capacity);
            self.open.insert(id.clone(), OpenUpload { call, stream });
            upload
        });
        let uploads = uploads.collect();
        self.calls.insert(call, ids.to_vec());
        self.count += ids.len();
        Ok((call, uploads))
    }

    /// The number of upload streams of all calls that have not returned. It includes streams that the client has ended:
    /// their calls may run for a long time without taking a slot, so nothing else would limit the number of such calls.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Closes the streams of a call that has returned.
    pub(super) fn close(&mut self, call: u64) {
        let ids = self.calls.remove(&call).unwrap_or_default();
        self.count -= ids.len();
        for id in ids {
            // The client may have ended the stream and used its id for another call.
            if self.open.get(&id).is_some_and(|entry| entry.call == call) {
                self.open.remove(&id);
            }
        }
    }

    /// The stream with that id, if it is open.
    pub(super) fn get(&self, id: &InvocationId) -> Option<UploadSender> {
        self.open.get(id).map(|entry| entry.stream.clone())
    }

    /// Removes and returns the stream with that id, because the client has ended it.
    pub(super) fn take(&mut self, id: &InvocationId) -> Option<UploadSender> {
        self.open.remove(id).map(|entry| entry.stream)
    }

    /// The error with which a client ends a stream, which may be an empty text. A result has no meaning there.
    pub(super) fn error_of(outcome: Outcome) -> Option<String> {
        match outcome {
            Outcome::Error(text) => Some(text),
            Outcome::Void | Outcome::Value(_) => None,
        }
    }
}
