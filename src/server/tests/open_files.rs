//! Running out of open files pauses accepting, and nothing else. The server is a process of its own, since the limit
//! is one of the process, and clients need files too.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Server, Shutdown, config};

const ROLE: &str = "HUBPLANE_TEST_FEW_FILES";
const MOST: u64 = 40;

#[test]
fn running_out_pauses_accepting_and_nothing_else() {
    if std::env::var_os(ROLE).is_some() {
        return serve_with_few_files();
    }
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::tests::open_files::running_out_pauses_accepting_and_nothing_else", "--nocapture"])
        .env(ROLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The test harness talks on the same stream, without a line end before ours.
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address: SocketAddr = lines
        .find_map(|line| line.unwrap().rsplit_once("listening on ").map(|(_, address)| address.parse().unwrap()))
        .unwrap();

    let mut first = patient(address);
    assert!(ask(&mut first).starts_with("HTTP/1.1 200"));
    let waiting: Vec<_> = (0..2 * MOST).map(|_| TcpStream::connect(address).unwrap()).collect();
    // The system has taken this one in, the server cannot.
    let mut last = patient(address);
    last.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(ask(&mut first).starts_with("HTTP/1.1 200"));
    last.set_nonblocking(true).unwrap();
    assert_eq!(last.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    last.set_nonblocking(false).unwrap();
    drop(waiting);
    assert!(read_head(&mut last).starts_with("HTTP/1.1 200"));

    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}

/// A client that does not wait for ever.
fn patient(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let head = read_head(stream);
    let mut body = [0; r#"{"ready":true}"#.len()];
    stream.read_exact(&mut body).unwrap();
    head
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(char::from(byte[0]));
    }
    head
}

/// Runs until its standard input ends.
#[allow(clippy::print_stdout)]
fn serve_with_few_files() {
    rlimit::setrlimit(rlimit::Resource::NOFILE, MOST, MOST).unwrap();
    let stop = Shutdown::default();
    let ask = stop.clone();
    let input = std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ask.request();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bound = Server::builder(config()).build().await.unwrap().bind().unwrap();
        println!("listening on {}", bound.local_addr());
        // Ready before the first is asked: the listener is served from the same task set.
        bound.run_until(&stop).await.unwrap();
    });
    input.join().unwrap();
}
