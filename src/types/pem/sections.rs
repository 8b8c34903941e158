//! Taking a text in PEM apart, so that nothing is passed over.

/// A part of a text from its BEGIN to its END.
pub(super) struct Section<'a> {
    /// The number of the line with its BEGIN. The first line of a file is 1.
    pub line: usize,
    /// The lines.
    pub text: &'a [u8],
}

/// Returns the sections whose labels end in `kind`.
///
/// # Errors
/// Returns what is wrong if one of them isn't whole, isn't on lines of its own, or has another label than those in `labels`.
pub(super) fn sections<'a>(
    pem: &'a [u8],
    kind: &str,
    labels: &[&str],
) -> Result<Vec<Section<'a>>, String> {
    let thing = kind.to_ascii_lowercase();
    let no_end = |(number, _)| {
        format!("the file holds a damaged {thing}: the one that begins in line {number} has no end")
    };
    let mut found = Vec::new();
    let mut begun: Option<(usize, usize)> = None;
    for (number, (at, line)) in (1..).zip(lines(pem)) {
        let marks = marks(line);
        let Some(mark) = marks.iter().find(|mark| mark.label.ends_with(kind)) else {
            continue;
        };
        if marks.len() > 1 {
            return Err(format!(
                "line {number} of the file has an END and a BEGIN: put a line break between them"
            ));
        }
        if !labels.contains(&mark.label) {
            let labels = labels.join(" or ");
            return Err(format!(
                "line {number} of the file names another form of a {thing} than {labels}: the broker reads no other"
            ));
        }
        if !mark.is_alone_on(line) {
            return Err(format!(
                "line {number} of the file must be {} and nothing else",
                mark.spelled()
            ));
        }
        begun = match (begun, mark.is_end) {
            (None, false) => Some((number, at)),
            (Some((line, begin)), true) => {
                let text = &pem[begin..at + mark.spelled().len()];
                found.push(Section { line, text });
                None
            }
            (Some(begun), false) => return Err(no_end(begun)),
            (None, true) => {
                return Err(format!(
                    "the file holds a damaged {thing}: the one that ends in line {number} has no beginning"
                ));
            }
        };
    }
    begun.map_or(Ok(found), |begun| Err(no_end(begun)))
}

/// Returns the lines of a text, each with the place where it begins. They end as the lines of any system do.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    let mut after_return = false;
    let pieces = text.split_inclusive(|byte| matches!(byte, b'\n' | b'\r'));
    pieces.filter_map(move |piece| {
        let begin = at;
        at += piece.len();
        let is_rest = after_return && piece == b"\n";
        after_return = piece.ends_with(b"\r");
        (!is_rest).then_some((begin, piece))
    })
}

/// A BEGIN or an END, wherever on its line.
struct Mark<'a> {
    is_end: bool,
    label: &'a str,
}

impl Mark<'_> {
    /// Returns the mark as it has to be spelled.
    fn spelled(&self) -> String {
        let word = if self.is_end { "END" } else { "BEGIN" };
        format!("-----{word} {}-----", self.label)
    }

    /// Whether the line begins with the mark, and doesn't go on. Behind an END parsers allow anything.
    fn is_alone_on(&self, line: &[u8]) -> bool {
        let rest = line.strip_prefix(self.spelled().as_bytes());
        rest.is_some_and(|rest| self.is_end || rest.trim_ascii().is_empty())
    }
}

/// Returns the marks on a line, also those that are damaged. One dash is enough: the others may have been lost in copying.
fn marks(line: &[u8]) -> Vec<Mark<'_>> {
    let mut found = Vec::new();
    for (word, is_end) in [("-BEGIN ", false), ("-END ", true)] {
        for at in memchr::memmem::find_iter(line, word) {
            let label = &line[at + word.len()..];
            let label = label.split(|byte| *byte == b'-').next().unwrap_or_default();
            if let Ok(label) = str::from_utf8(label.trim_ascii()) {
                found.push(Mark { is_end, label });
            }
        }
    }
    found
}
