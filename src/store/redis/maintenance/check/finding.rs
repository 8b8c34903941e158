//! One thing that is wrong.

use serde::Serialize;

use super::FindingKind;

/// One thing that was wrong at one instant. It names keys, which hold session ids: it is for the
/// operator who asked, never for a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The row, member or index that it is about; what isn't UTF-8 in it is replaced.
    pub key: String,
    /// The index that it is missing in, or is a member of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Whether it was mended in the same step.
    pub mended: bool,
}

impl Finding {
    /// About a key alone.
    pub(super) fn of(kind: FindingKind, key: &str, mended: bool) -> Self {
        Self {
            kind,
            key: key.to_owned(),
            index: None,
            mended,
        }
    }

    /// About a key and an index.
    pub(super) fn within(kind: FindingKind, key: &str, index: &str, mended: bool) -> Self {
        Self {
            index: Some(index.to_owned()),
            ..Self::of(kind, key, mended)
        }
    }

    /// What makes it the same finding, whenever it was made.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        let index = self.index.as_deref().unwrap_or_default();
        [self.kind.name(), &self.key, index].map(str::as_bytes)
    }
}
