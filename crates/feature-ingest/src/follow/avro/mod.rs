//! Messages in Avro.

mod registry;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use feature_core::{Result, Secret};
use serde_json::Value;

use self::registry::Registry;
use self::schema::MessageSchema;
use super::feed::Message;
use crate::error::IngestError;

/// The first byte of a message that names its schema, and how many bytes name it.
const MAGIC: u8 = 0;
const ID: usize = 4;

/// How messages in Avro are read.
#[derive(Clone, Debug)]
pub struct Avro(Schemas);

#[derive(Clone, Debug)]
enum Schemas {
    /// All have this one.
    Given(Arc<MessageSchema>),
    /// Each says which one it has.
    Registered(Arc<Registry>),
}

impl Avro {
    /// All messages have this schema, which is JSON, and are nothing but its datum.
    ///
    /// # Errors
    /// It is no schema.
    pub fn with_schema(schema: &str) -> Result<Self, IngestError> {
        let schema = MessageSchema::parse(schema).map_err(IngestError::Request)?;
        Ok(Self(Schemas::Given(Arc::new(schema))))
    }

    /// Messages begin with the number of their schema, as those of Confluent's clients do; this registry has the
    /// schemas. A user and password may be in the URL.
    ///
    /// # Errors
    /// It is no URL of http or https; it is not shown.
    pub fn with_registry(url: &Secret) -> Result<Self, IngestError> {
        Ok(Self(Schemas::Registered(Arc::new(Registry::new(url)?))))
    }

    pub(super) async fn prepare(&self, messages: &[Message]) -> Result<()> {
        let Schemas::Registered(registry) = &self.0 else { return Ok(()) };
        for message in messages {
            if let Ok((id, _)) = split(&message.payload) {
                registry.learn(id).await?;
            }
        }
        Ok(())
    }

    pub(super) fn read(&self, payload: &[u8]) -> Result<Value, String> {
        match &self.0 {
            Schemas::Given(schema) => schema.read(payload),
            Schemas::Registered(registry) => {
                let (id, datum) = split(payload)?;
                registry.schema(id)?.read(datum)
            }
        }
    }
}

/// The number of a message's schema, and its datum.
fn split(payload: &[u8]) -> Result<(u32, &[u8]), String> {
    let Some((MAGIC, rest)) = payload.split_first().map(|(first, rest)| (*first, rest)) else {
        return Err(
            "it does not begin as a message of a schema registry does, with a byte of zero".to_owned()
        );
    };
    let (id, datum) =
        rest.split_first_chunk::<ID>().ok_or("it ends before the number of its schema".to_owned())?;
    Ok((u32::from_be_bytes(*id), datum))
}
