//! How messages are written.

use feature_core::Result;
use serde_json::Value;

#[cfg(feature = "avro")]
use super::avro::Avro;
use super::feed::Message;

/// How messages are written.
#[derive(Clone, Debug, Default)]
pub enum Encoding {
    /// As JSON.
    #[default]
    Json,
    /// As Avro.
    #[cfg(feature = "avro")]
    Avro(Avro),
}

impl Encoding {
    /// Gets ready for these messages: what is needed to read them is there afterwards.
    ///
    /// # Errors
    /// It cannot be had now.
    #[cfg_attr(not(feature = "avro"), expect(unused_variables, reason = "JSON needs nothing"))]
    pub(crate) async fn prepare(&self, messages: &[Message]) -> Result<()> {
        match self {
            Self::Json => Ok(()),
            #[cfg(feature = "avro")]
            Self::Avro(avro) => avro.prepare(messages).await,
        }
    }

    /// What a message says.
    pub(crate) fn read(&self, payload: &[u8]) -> Result<Value, String> {
        match self {
            Self::Json => serde_json::from_slice(payload).map_err(|e| format!("it is not JSON: {e}")),
            #[cfg(feature = "avro")]
            Self::Avro(avro) => avro.read(payload),
        }
    }
}
