//! How much memory a message will take, before it is decoded: two bytes on the wire can be a row of a hundred
//! in memory.

/// What is known of a message's fields, as far as it matters.
pub(super) struct Shape {
    /// What the message itself takes, wherever it is held.
    pub(super) bytes: usize,
    /// The fields that are messages or lists of numbers; any other is a text or one number.
    pub(super) fields: &'static [(u64, Field)],
}

/// What is known of a field.
pub(super) enum Field {
    /// A message, or one of a list of them.
    Message(&'static Shape),
    /// Numbers of which each may be a byte.
    Varints,
}

use Field::{Message, Varints};

/// A message that holds nothing of its own that could be long.
const fn plain(bytes: usize) -> Shape {
    Shape { bytes, fields: &[] }
}

const NUMBERS: Shape = Shape { bytes: 24, fields: &[(1, Varints)] };
static VALUES: Shape = Shape {
    bytes: 48,
    fields: &[
        (1, Message(&NUMBERS)),
        (2, Message(&NUMBERS)),
        (3, Message(&NUMBERS)),
        (9, Message(&LISTS)),
        (10, Message(&ANY)),
    ],
};
static LISTS: Shape = Shape { bytes: 72, fields: &[(1, Varints), (2, Message(&VALUES))] };
static ANY: Shape = Shape { bytes: 24, fields: &[(1, Message(&VALUE))] };
static VALUE: Shape = Shape { bytes: 64, fields: &[(9, Message(&VALUES)), (10, Message(&MAP))] };
static MAP: Shape = Shape { bytes: 24, fields: &[(1, Message(&MEMBER))] };
/// A member of a map: beside its value, its share of a tree's node.
static MEMBER: Shape = Shape { bytes: 64, fields: &[(2, Message(&VALUE))] };
static ENTITIES: Shape = Shape { bytes: 24, fields: &[(1, Message(&JOIN_KEY))] };
static JOIN_KEY: Shape = Shape { bytes: 56, fields: &[(3, Message(&NUMBERS))] };
static JOIN_VALUE: Shape = Shape { bytes: 64, fields: &[(2, Message(&ENTITY_VALUE))] };
static ENTITY_VALUE: Shape = plain(32);
static ROW: Shape = Shape { bytes: 120, fields: &[(1, Message(&JOIN_VALUE)), (2, Message(&MEMBER))] };
static COLUMN: Shape = Shape { bytes: 96, fields: &[(2, Message(&VALUES)), (3, Varints)] };
static ROWS: Shape =
    Shape { bytes: 160, fields: &[(1, Message(&ROW)), (2, Message(&ENTITIES)), (3, Message(&COLUMN))] };

pub(super) static READ: Shape = Shape { bytes: 192, fields: &[(5, Message(&ENTITIES))] };
pub(super) static WRITE: Shape = Shape { bytes: 224, fields: &[(3, Message(&ROWS))] };
pub(super) static DELETE: Shape = Shape { bytes: 96, fields: &[(3, Message(&ENTITIES))] };
/// Of messages of a few texts.
pub(super) static SMALL: Shape = plain(96);

static FEAST_VALUE: Shape = Shape {
    bytes: 64,
    fields: &[
        (13, Message(&NUMBERS)),
        (14, Message(&NUMBERS)),
        (17, Message(&NUMBERS)),
        (18, Message(&NUMBERS)),
        (20, Message(&FEAST_MAP)),
    ],
};
static FEAST_MAP: Shape = Shape { bytes: 24, fields: &[(1, Message(&FEAST_MEMBER))] };
static FEAST_MEMBER: Shape = Shape { bytes: 64, fields: &[(2, Message(&FEAST_VALUE))] };
static FEAST_COLUMN: Shape = Shape { bytes: 64, fields: &[(2, Message(&FEAST_VALUES))] };
static FEAST_VALUES: Shape = Shape { bytes: 24, fields: &[(1, Message(&FEAST_VALUE))] };
static NAMES: Shape = plain(24);
pub(super) static FEAST_READ: Shape = Shape {
    bytes: 128,
    fields: &[(2, Message(&NAMES)), (3, Message(&FEAST_COLUMN)), (5, Message(&FEAST_COLUMN))],
};

/// How deep messages may be in each other; the decoder allows no more.
const DEEPEST: usize = 100;

/// How many bytes a message of this shape takes in memory. Of one that is not what it should be, so much as
/// is understood: its decoder says what is wrong.
pub(super) fn weigh(message: &[u8], shape: &Shape) -> usize {
    within(message, shape, DEEPEST)
}

fn within(message: &[u8], shape: &Shape, deeper: usize) -> usize {
    let mut sum = shape.bytes;
    let mut rest = message;
    while let Some(tag) = varint(&mut rest) {
        let own = match tag & 7 {
            0 => varint(&mut rest).map(|_| 8),
            1 => cut(&mut rest, 8).map(<[u8]>::len),
            5 => cut(&mut rest, 4).map(<[u8]>::len),
            2 => field(&mut rest, tag >> 3, shape, deeper),
            _ => None,
        };
        let Some(own) = own else { break };
        sum = sum.saturating_add(own);
    }
    sum
}

fn field(rest: &mut &[u8], number: u64, shape: &Shape, deeper: usize) -> Option<usize> {
    let length = usize::try_from(varint(rest)?).ok()?;
    let content = cut(rest, length)?;
    let known = shape.fields.iter().find(|(own, _)| *own == number).map(|(_, field)| field);
    Some(match known {
        Some(Message(shape)) => within(content, shape, deeper.checked_sub(1)?),
        Some(Varints) => content.len().saturating_mul(8),
        None => content.len().saturating_add(24),
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, more) = rest.split_first()?;
        *rest = more;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn cut<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (content, more) = rest.split_at_checked(length)?;
    *rest = more;
    Some(content)
}
