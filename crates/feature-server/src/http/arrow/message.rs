//! Messages of Arrow's streams, looked at before they are decoded: the decoder relies on what they say.

use arrow_ipc::root_as_message;

use super::malformed;
use crate::calls::Refusal;

/// What stands before the length of each message.
pub(crate) const CONTINUATION: [u8; 4] = [0xff; 4];

/// What the head of a message says.
pub(crate) struct Message {
    /// How many bytes follow the head.
    pub(crate) body: usize,
    /// How many rows it has.
    pub(crate) rows: usize,
    /// How many values the longest of its columns has.
    pub(crate) values: usize,
    /// If it is a dictionary, its id, and whether it adds to the one from before.
    pub(crate) dictionary: Option<(i64, bool)>,
}

impl Message {
    /// Whether a message stays within its own body, by its head.
    pub(crate) fn of(head: &[u8]) -> Result<Self, Refusal> {
        let message = root_as_message(head).map_err(malformed)?;
        let body = usize::try_from(message.bodyLength()).map_err(|_| malformed("it is cut off"))?;
        let dictionary = message.header_as_dictionary_batch();
        let batch = message.header_as_record_batch().or_else(|| dictionary.and_then(|d| d.data()));
        let dictionary = dictionary.map(|dictionary| (dictionary.id(), dictionary.isDelta()));
        let Some(batch) = batch else { return Ok(Self { body, rows: 0, values: 0, dictionary }) };
        if batch.compression().is_some() {
            // What it says of its size when it is not could be anything.
            return Err(malformed("its buffers are compressed: write them as they are"));
        }
        for buffer in batch.buffers().into_iter().flatten() {
            let (offset, bytes) = (buffer.offset(), buffer.length());
            let end = usize::try_from(offset).ok().zip(usize::try_from(bytes).ok());
            let end = end.and_then(|(offset, bytes)| offset.checked_add(bytes));
            if end.is_none_or(|end| end > body) || offset % 8 != 0 {
                return Err(malformed("a buffer is not where it can be"));
            }
        }
        let mut values = 0;
        for node in batch.nodes().into_iter().flatten() {
            let (length, nulls) = (node.length(), node.null_count());
            if length < 0 || nulls < 0 || nulls > length {
                return Err(malformed("the length of a column is none"));
            }
            values = values.max(usize::try_from(length).map_err(malformed)?);
        }
        let rows = usize::try_from(batch.length()).map_err(malformed)?;
        Ok(Self { body, rows, values, dictionary })
    }
}
