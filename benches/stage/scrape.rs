//! Those who scrape: some connections, each of which asks again as soon as it is answered.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;

use gpu_cost_exporter::clock;

/// One connection, and the last answer that came over it.
struct Scraper {
    stream: BufReader<TcpStream>,
    request: String,
    body: Vec<u8>,
}

/// Scrapes over so many connections at once, together so many times; `encoding` is what the scrapers accept.
pub(crate) fn all(port: u16, connections: usize, times: usize, encoding: &str) {
    let each = times.div_ceil(connections);
    let threads: Vec<_> = (0..connections)
        .map(|_| {
            let mut scraper = Scraper::connect(port, encoding);
            thread::spawn(move || {
                let micros: Vec<u64> = (0..each).map(|_| scraper.scrape()).collect();
                (micros, scraper.body)
            })
        })
        .collect();
    let mut last = Vec::new();
    for thread in threads {
        let (micros, body) = thread.join().expect("it scraped");
        for took in micros {
            println!("{took}");
        }
        last = body;
    }
    let series = last.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count();
    println!("bytes {} series {series}", last.len());
}

// === impl Scraper ===

impl Scraper {
    fn connect(port: u16, encoding: &str) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: {encoding}\r\n\r\n");
        Self { stream: BufReader::with_capacity(1 << 18, stream), request, body: Vec::new() }
    }

    /// Scrapes once and says how many microseconds that took.
    fn scrape(&mut self) -> u64 {
        let began = clock::uptime();
        self.stream.get_mut().write_all(self.request.as_bytes()).expect("a connection");
        let mut line = String::new();
        let mut length = 0;
        self.stream.read_line(&mut line).expect("an answer");
        assert!(line.contains(" 200 "), "{line}");
        while line != "\r\n" {
            line.clear();
            self.stream.read_line(&mut line).expect("a header");
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).expect("all of the answer");
        clock::uptime().since(began).as_nanos() / 1_000
    }
}
