//! Tests of the library in a host that terminates TLS itself and serves with hyper, so that the stream below a
//! WebSocket is not a TCP socket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use http::Request;
use hubplane::config::{Config, HubOptions};
use hubplane::hub::{Caller, HubRoute, Methods};
use hubplane::server::Server;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower::ServiceExt as _;

use testkit::nonblocking::{Connection, TIMEOUT};

use crate::router::{Socket, result};

const CERTIFICATE: &[u8] = include_bytes!("../keys/tls.pem");
const KEY: &[u8] = include_bytes!("../keys/tls.key.pem");

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(CERTIFICATE).unwrap()
}

fn acceptor() -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn connect(address: SocketAddr) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("app").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Serves an application over TLS, as a host with its own TLS acceptor does.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = acceptor();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (app, acceptor) = (app.clone(), acceptor.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let service = service_fn(move |request: Request<Incoming>| {
                    let app = app.clone();
                    async move { Ok::<_, Infallible>(app.oneshot(request.map(axum::body::Body::new)).await.unwrap()) }
                });
                let http = auto::Builder::new(TokioExecutor::new());
                // Clients may disconnect without a TLS close_notify, so an error is ignored.
                let _ = http.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn every_transport_works_under_tls() {
    let hub = Methods::new().method("Echo", |_: Caller, text: String| async move { Ok(text) });
    let mut options = HubOptions::default();
    options.maximum_receive_message_size = None;
    let server =
        Server::builder(Config::default()).hub(HubRoute::new("/chat", hub).options(options)).build().await.unwrap();
    let handle = server.handle();
    let address = serve(Router::new().nest("/realtime", server.into_router())).await;

    let mut socket = Socket::open(connect(address).await, "/realtime/chat").await;
    assert_eq!(socket.call("Echo", r#"["a"]"#).await, result("\"a\""));
    // Longer than a TLS record, than one read of the server, and than the buffers of the socket.
    let long = "x".repeat(1_000_000);
    assert_eq!(socket.call("Echo", &format!("[\"{long}\"]")).await, result(&format!("\"{long}\"")));

    let mut stream = Connection::over(connect(address).await);
    stream.request("POST /realtime/chat/negotiate", &[], "").await;
    let answer = stream.response().await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("connectionId"), "{}", answer.text());

    let stopped = tokio::spawn(async move { handle.shutdown().await });
    assert_eq!(socket.next().await.as_deref(), Some("{\"type\":7,\"allowReconnect\":true}\u{1e}"));
    assert_eq!(socket.next().await, None);
    drop(socket);
    timeout(TIMEOUT, stopped).await.unwrap().unwrap();
}
