//! A position among the members of all indexes of a user: the broker's, and then that of other software, if that spells the user
//! in another way.

use super::index_position::IndexPosition;
use crate::store::Position;

/// What follows a position in the second index.
const SECOND: u8 = 1;

/// Returns the number of the index and the position in it. What isn't a position is the beginning.
pub(super) fn read(position: Option<&Position>, indexes: usize) -> (usize, Option<IndexPosition>) {
    let bytes = position.map_or(&[][..], Position::as_bytes);
    let of = |bytes: &[u8]| IndexPosition::decode(&Position::new(bytes.to_vec()));
    match (of(bytes), bytes.split_last()) {
        (Some(position), _) => (0, Some(position)),
        (None, Some((&SECOND, rest))) if indexes > 1 => (1, of(rest)),
        _ => (0, None),
    }
}

/// Returns the position behind a page of the index of this number. `next` is the one within the index.
pub(super) fn next(
    number: usize,
    next: Option<&IndexPosition>,
    indexes: usize,
) -> Option<Position> {
    match (number, next.map(IndexPosition::encode)) {
        (0, Some(position)) => Some(position),
        (0, None) => (indexes > 1).then(|| Position::new(vec![SECOND])),
        (_, position) => {
            position.map(|position| Position::new([position.as_bytes(), &[SECOND]].concat()))
        }
    }
}
