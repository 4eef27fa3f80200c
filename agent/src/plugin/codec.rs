//! A codec that sends what is encoded already, and leaves what comes as it is.

use prost::bytes::{Buf, BufMut, Bytes};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use vfiod_core::allocator::List;

/// A message on its way out.
#[derive(Debug)]
pub(super) enum Message {
    /// Encoded.
    Bytes(Vec<u8>),
    /// A list: its parts are copied from where they were prepared straight to where they are sent from.
    List(List),
}

impl Message {
    /// A message without prepared parts.
    pub(super) fn of(message: &impl prost::Message) -> Self {
        Self::Bytes(message.encode_to_vec())
    }
}

/// Reads a message for which nothing quicker is needed.
pub(super) fn read<M: prost::Message + Default>(request: Bytes) -> Result<M, Status> {
    M::decode(request).map_err(|error| Status::invalid_argument(format!("the request cannot be read: {error}")))
}

/// Bytes in, prepared messages out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Prepared;

impl Codec for Prepared {
    type Encode = Message;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Prepared {
    type Item = Message;
    type Error = Status;

    fn encode(&mut self, message: Message, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match message {
            Message::Bytes(bytes) => to.put_slice(&bytes),
            Message::List(list) => {
                to.reserve(list.encoded_len());
                list.write(|piece| to.put_slice(piece));
            }
        }
        Ok(())
    }
}

impl Decoder for Prepared {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
