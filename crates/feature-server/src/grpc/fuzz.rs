//! The messages of both services.

use prost::Message;

use super::measure::{DELETE, FEAST_READ, READ, WRITE, weigh};
use super::proto::{feast, fstore as pb};
use super::rows::write_rows;
use super::{entities, feast as asked};
use crate::calls::Refusal;
use crate::fuzz::{LIMITS, check, memory};

/// What is asked, written and removed, and the entities that Feast asks for.
pub(crate) fn messages(data: &[u8]) {
    if weigh(data, &WRITE) <= LIMITS.memory
        && let Ok(request) = pb::WriteRequest::decode(data)
    {
        check(write_rows(request.rows, &LIMITS, &mut memory()), Vec::len);
    }
    if weigh(data, &READ) <= LIMITS.memory
        && let Ok(request) = pb::ReadRequest::decode(data)
    {
        check(entities::keys(request.entities).map_err(Refusal::from), |_| 0);
    }
    if weigh(data, &DELETE) <= LIMITS.memory
        && let Ok(request) = pb::DeleteRequest::decode(data)
    {
        check(entities::keys(request.entities).map_err(Refusal::from), |_| 0);
    }
    if weigh(data, &FEAST_READ) <= LIMITS.memory
        && let Ok(request) = feast::serving::GetOnlineFeaturesRequest::decode(data)
    {
        let columns = request.entities.len();
        assert_eq!(asked::entities(request.entities).len(), columns);
    }
}
