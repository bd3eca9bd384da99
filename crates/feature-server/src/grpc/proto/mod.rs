//! The messages of the protocols, generated from the files in `proto/`: the test `proto` sees to it that they
//! are up to date, and with `FSTORE_BLESS=1` writes them.

/// Of `fstore.v1`.
#[allow(clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, reason = "generated")]
#[rustfmt::skip]
pub(crate) mod fstore {
    include!("fstore.v1.rs");
}

/// Of Feast.
pub(crate) mod feast {
    #[allow(clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, reason = "generated")]
    #[rustfmt::skip]
    pub(crate) mod serving {
        include!("feast.serving.rs");
    }
    #[allow(clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, reason = "generated")]
    #[rustfmt::skip]
    pub(crate) mod types {
        include!("feast.types.rs");
    }
}

/// The descriptions of all of them, as a `google.protobuf.FileDescriptorSet`.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");
