//! Serves the demo page: the files of `src/api/page/`, which are compiled into the binary, so that the page needs
//! neither the network nor a folder.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};

const HTML: &str = "text/html; charset=utf-8";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// All files, with the paths at which they are served.
const FILES: &[File] = &[
    File { path: "/", content_type: HTML, bytes: include_bytes!("page/index.html") },
    File { path: "/app.js", content_type: SCRIPT, bytes: include_bytes!("page/app.js") },
    File { path: "/signalr-lite.js", content_type: SCRIPT, bytes: include_bytes!("page/signalr-lite.js") },
    File { path: "/style.css", content_type: STYLE, bytes: include_bytes!("page/style.css") },
];

/// One file of the page.
#[derive(Debug)]
pub(crate) struct File {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// The file that is served at a path.
pub(crate) fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

/// The paths of all files.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.path)
}

impl File {
    /// Answers a request with the file, or with 304 if the browser has the current version. Browsers cache the file but
    /// must revalidate it every time: after an update of the server, the page and its scripts must be of the same
    /// version.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        let tag = self.tag();
        let known = request.get_all(IF_NONE_MATCH).iter().any(|value| {
            let tags = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            tags.map(|one| one.strip_prefix(b"W/").unwrap_or(one)).any(|one| one == tag.as_bytes())
        });
        let mut response = Response::new(if known { Body::empty() } else { Body::from(self.bytes) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(ETAG, tag);
        }
        if !known {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        response
    }

    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.bytes.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}
