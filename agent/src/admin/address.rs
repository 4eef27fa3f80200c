//! Where to listen.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// Where `--listen` serves unless told otherwise: on this host only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9420";

/// An address to listen on, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// `off`.
    Off,
    /// At this address.
    At(SocketAddr),
}

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address to listen on; write 127.0.0.1:9420, [::1]:9420, :9420 for all addresses of this host, or off"
)]
pub struct ParseListenError(String);

impl FromStr for Listen {
    type Err = ParseListenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseListenError(text.to_owned());
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse().map_err(|_| wrong())?;
            return Ok(Self::At(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)));
        }
        text.parse().map(Self::At).map_err(|_| wrong())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let at = |text: &str| text.parse().map(|address: SocketAddr| Listen::At(address)).unwrap();
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("127.0.0.1:9420".parse(), Ok(at("127.0.0.1:9420")));
        assert_eq!("[::1]:0".parse(), Ok(at("[::1]:0")));
        assert_eq!(":9421".parse(), Ok(at("[::]:9421")));
        for wrong in ["", "9420", "localhost:9420", "127.0.0.1", ":x", "on"] {
            let error = wrong.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:9420"), "{wrong}: {error}");
        }
    }
}
