//! Answers every `demo.ask` with `demo.answered`. It uses Rust's standard library alone: the runtime is on loopback,
//! where it speaks plain HTTP. In a larger worker, take `tungstenite`, `ureq` and `serde_json` in place of `Api`.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where the runtime is, and the worker's own token.
struct Api {
    host: String,
    token: String,
}

impl Api {
    fn from_environment() -> Result<Self> {
        let url = env::var("DREADNODE_RUNTIME_URL")?;
        let host = url
            .strip_prefix("http://")
            .ok_or("only http:// is spoken here")?;
        Ok(Self {
            host: host.trim_end_matches('/').into(),
            token: env::var("DREADNODE_RUNTIME_TOKEN")?,
        })
    }

    /// Sends a request, and returns the stream behind the head of an answer with this status.
    fn request(&self, head: &str, body: &str, status: &str) -> Result<BufReader<TcpStream>> {
        let mut stream = BufReader::new(TcpStream::connect(&self.host)?);
        let (host, token) = (&self.host, &self.token);
        write!(
            stream.get_mut(),
            "{head}\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n{body}"
        )?;
        let mut first = String::new();
        stream.read_line(&mut first)?;
        if first.split_whitespace().nth(1) != Some(status) {
            return Err(format!("the runtime answered {}", first.trim()).into());
        }
        let mut line = String::new();
        while stream.read_line(&mut line)? > 2 {
            line.clear();
        }
        Ok(stream)
    }

    fn publish(&self, kind: &str, payload: &str) -> Result<()> {
        let body = format!(r#"{{"kind":"{kind}","payload":{payload}}}"#);
        let length = body.len();
        let head = format!(
            "POST /api/events HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}"
        );
        self.request(&head, &body, "200").map(drop)
    }

    /// Opens the stream of events of one kind: a WebSocket.
    fn listen(&self, kind: &str) -> Result<Events> {
        let head = format!(
            "GET /api/ws/events?kinds={kind} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZG53b3JrZXIgaW4gcnVzdA=="
        );
        Ok(Events(self.request(&head, "", "101")?))
    }
}

/// The messages of a WebSocket; each is an event as JSON.
struct Events(BufReader<TcpStream>);

impl Events {
    fn next(&mut self) -> io::Result<Option<String>> {
        let mut text = Vec::new();
        loop {
            let (is_last, opcode, payload) = self.frame()?;
            match opcode {
                0 | 1 => text.extend(payload),
                8 => return Ok(None),
                9 => self.pong(&payload)?,
                _ => {}
            }
            if is_last && opcode < 2 {
                return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
            }
        }
    }

    fn frame(&mut self) -> io::Result<(bool, u8, Vec<u8>)> {
        let [first, short] = self.bytes::<2>()?;
        let length = match short & 0x7f {
            126 => u16::from_be_bytes(self.bytes()?).into(),
            127 => u64::from_be_bytes(self.bytes()?),
            short => short.into(),
        };
        let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.0.read_exact(&mut payload)?;
        Ok((first & 0x80 != 0, first & 0x0f, payload))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut read = [0; N];
        self.0.read_exact(&mut read)?;
        Ok(read)
    }

    /// Answers a ping, whose payload has at most 125 bytes; a client masks what it sends, here with zeros.
    fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend(payload);
        self.0.get_mut().write_all(&frame)
    }
}

fn work(api: &Api) -> Result<()> {
    let mut events = api.listen("demo.ask")?;
    println!("listening");
    while let Some(event) = events.next()? {
        api.publish("demo.answered", &format!(r#"{{"to":{event},"by":"rust"}}"#))?;
    }
    Ok(())
}

/// Works until the runtime ends the process, with SIGTERM; a stream that breaks is opened again.
fn main() -> Result<()> {
    let api = Api::from_environment()?;
    loop {
        if let Err(error) = work(&api) {
            eprintln!("{error}");
        }
        sleep(Duration::from_secs(1));
    }
}
