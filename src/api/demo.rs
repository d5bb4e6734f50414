//! The demo page: files of `src/api/page/`, held by the binary, so that it needs no network and no folder.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};

const HTML: &str = "text/html; charset=utf-8";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Every file, by the path it is served at.
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

/// The file served at this path.
pub(crate) fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

/// The paths of all files.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.path)
}

impl File {
    /// Browsers keep the file, and ask each time whether it is still the one: after an update of the server the
    /// page and its script must not come from two versions.
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
