//! Request headers as grpc-go sends them: the first time in full, then by their place in the dynamic table (RFC 7541).

/// What this connection has put into the server's dynamic table, oldest first.
#[derive(Debug, Default)]
pub(super) struct Headers {
    table: Vec<(&'static str, &'static str)>,
}

/// Entries of the static table (RFC 7541, appendix A): `:method POST` and `:scheme http`.
const POST: u8 = 0x80 | 3;
const HTTP: u8 = 0x80 | 6;
/// The first entry of the dynamic table.
const FIRST: usize = 62;

impl Headers {
    /// The header block of a call.
    pub(super) fn of(&mut self, path: &'static str) -> Vec<u8> {
        let mut block = vec![POST, HTTP];
        for (name, value) in
            [(":path", path), (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers")]
        {
            match self.table.iter().rev().position(|entry| *entry == (name, value)) {
                Some(place) => block.push(0x80 | (FIRST + place) as u8),
                None => {
                    block.push(0x40); // literal, with a new name, to be indexed
                    for text in [name, value] {
                        block.push(text.len() as u8);
                        block.extend_from_slice(text.as_bytes());
                    }
                    self.table.push((name, value));
                }
            }
        }
        block
    }
}

/// The headers of an answer that went well, and its trailers: what a kubelet's server sends.
pub(super) fn answer() -> (Vec<u8>, Vec<u8>) {
    let literal = |name: &str, value: &str| {
        let mut block = vec![0];
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
        block
    };
    let mut headers = vec![0x80 | 8]; // `:status 200`
    headers.extend(literal("content-type", "application/grpc"));
    (headers, literal("grpc-status", "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_once_is_named_by_its_place() {
        let mut headers = Headers::default();
        assert!(headers.of("/a").len() > 50);
        // The newest entry has the lowest place: te, content-type, authority, path.
        assert_eq!(headers.of("/a"), [POST, HTTP, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
        let block = headers.of("/b");
        assert_eq!(block.get(..6), Some([POST, HTTP, 0x40, 5, b':', b'p'].as_slice()));
        assert_eq!(block.get(block.len() - 3..), Some([0x80 | 65, 0x80 | 64, 0x80 | 63].as_slice()));
    }
}
