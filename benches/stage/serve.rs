//! The least that a scrape can cost: a program that does nothing but send the same bytes to whoever asks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

/// Answers every request with so many bytes, each connection on its own thread; says on which port, and never ends.
pub(crate) fn forever(bytes: usize) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    println!("{}", listener.local_addr().expect("an address").port());
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + bytes, b'#');
    thread::scope(|scope| {
        for stream in listener.incoming() {
            // Whoever goes in the middle of an answer is done.
            scope.spawn(|| stream.and_then(|stream| answer_all(&stream, &answer)));
        }
    });
}

fn answer_all(stream: &TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut requests = BufReader::new(stream).lines();
    // A request ends with an empty line.
    while let Some(line) = requests.next().transpose()? {
        if line.is_empty() {
            (&*stream).write_all(answer)?;
        }
    }
    Ok(())
}
