//! The startup migration from the older layout (contract section 5).

mod mapping;

pub use mapping::{LegacyMapping, MappingError, Meaning};
