//! The streams a client is uploading (docs/builders/signalr-protocol.md#4.6).

use std::collections::HashMap;

use crate::hub::Upload;
use crate::hub::upload::UploadSender;
use crate::ids::InvocationId;
use crate::protocol::Outcome;

/// Open upload streams by their id. A call's streams are closed when it returns; what comes for a closed stream is
/// passed over.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    open: HashMap<InvocationId, OpenUpload>,
    /// The number of the last call that uploads.
    last: u64,
}

#[derive(Debug)]
struct OpenUpload {
    /// The call it belongs to: an id may be used again at once, and then belongs to another.
    call: u64,
    stream: UploadSender,
}

impl Uploads {
    /// Opens the streams of one call. Err: the first id that is open already; nothing is opened then.
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
        Ok((call, uploads))
    }

    /// A call has returned.
    pub(super) fn close(&mut self, call: u64) {
        self.open.retain(|_, entry| entry.call != call);
    }

    /// The stream of that id, if it is open.
    pub(super) fn get(&self, id: &InvocationId) -> Option<UploadSender> {
        self.open.get(id).map(|entry| entry.stream.clone())
    }

    /// The client ends a stream. A result has no meaning there.
    pub(super) fn take(&mut self, id: &InvocationId) -> Option<UploadSender> {
        self.open.remove(id).map(|entry| entry.stream)
    }

    /// What the end of a stream says: an error's text, the empty one included.
    pub(super) fn error_of(outcome: Outcome) -> Option<String> {
        match outcome {
            Outcome::Error(text) => Some(text),
            Outcome::Void | Outcome::Value(_) => None,
        }
    }
}
