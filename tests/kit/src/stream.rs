//! A blocking TCP connection that buffers bytes until they form a complete unit, with a deadline for each wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::TIMEOUT;

/// Why a read returned nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEnd {
    /// The deadline has passed; later reads may succeed.
    TimedOut,
    /// The peer has closed its direction properly.
    Fin,
    /// The peer has reset the connection.
    Reset,
}

/// A blocking TCP connection.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    /// The bytes that were received but not taken yet.
    pub held: Vec<u8>,
}

impl Stream {
    /// Connects, and panics if nothing is listening.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect_timeout(&address, TIMEOUT).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_write_timeout(Some(TIMEOUT)).unwrap();
        Self { tcp, held: Vec::new() }
    }

    /// Writes all bytes, or fails if the peer does not accept them.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.tcp.write_all(bytes)
    }

    /// Writes all bytes, and panics if the peer does not accept them.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    /// Waits for more bytes.
    pub fn fill(&mut self, deadline: Instant) -> Result<(), ReadEnd> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.tcp.set_read_timeout(Some(left)).unwrap();
        let mut chunk = [0; 65536];
        match self.tcp.read(&mut chunk) {
            Ok(0) => Err(ReadEnd::Fin),
            Ok(count) => {
                self.held.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Err(ReadEnd::TimedOut),
                _ => Err(ReadEnd::Reset),
            },
        }
    }

    /// Waits until there are bytes to read, without reading them.
    #[track_caller]
    pub fn expect_unread(&mut self) {
        self.tcp.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_ne!(self.tcp.peek(&mut [0]).unwrap(), 0, "the peer has closed the connection");
    }

    /// Reads what has arrived by now; fails with [`ReadEnd::TimedOut`] if there is nothing.
    pub fn arrived(&mut self) -> Result<(), ReadEnd> {
        self.fill(Instant::now())
    }

    /// Reads until `parse` finds a complete unit at the front, and returns it. `parse` returns it with its length.
    pub fn take<T>(&mut self, deadline: Instant, parse: impl Fn(&[u8]) -> Option<(T, usize)>) -> Result<T, ReadEnd> {
        loop {
            if let Some((value, length)) = parse(&self.held) {
                self.held.drain(..length);
                return Ok(value);
            }
            self.fill(deadline)?;
        }
    }
}
