//! The macro that declares the settings of a subject.

/// Declares a struct whose fields are settings, as in
///
/// ```text
/// settings! {
///     /// How large rows may get.
///     #[derive(Clone, Debug)]
///     pub struct LimitSettings in "Limits" {
///         /// Maximum size of one row, in bytes
///         max_row_bytes: usize = number(1..=LARGEST).default("61440");
///     }
/// }
/// ```
///
/// The text after `in` is the heading in the help. The expression after `=` is a
/// [`Value`](crate::config::value::Value) of the field's type. For each field, the macro also declares
/// a constant of the same name, whose value is the name of the setting:
/// `LimitSettings::max_row_bytes` is `"max-row-bytes"`.
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        $visible:vis struct $subject:ident $(in $heading:literal)? {
            $($(#[doc = $help:literal])+ $field:ident: $type:ty = $value:expr;)+
        }
    ) => {
        $(#[$attribute])*
        $visible struct $subject {
            $($(#[doc = $help])+ $visible $field: $type,)+
        }

        #[allow(non_upper_case_globals, reason = "a name is spelled like its field")]
        impl $subject {
            $(
                #[doc = concat!("The name of the setting that `", stringify!($field), "` holds.")]
                $visible const $field: &'static str = {
                    const FIELD: &str = stringify!($field);
                    const NAME: [u8; FIELD.len()] = $crate::config::settings::declare::kebab_case(FIELD);
                    match str::from_utf8(&NAME) {
                        Ok(name) => name,
                        Err(_) => FIELD,
                    }
                };
            )+
        }

        $(
            impl $subject {
                /// The heading in the help.
                #[allow(dead_code, reason = "not every heading is asked for")]
                pub(in $crate::config) const HEADING: &'static str = $heading;
            }
        )?

        impl $crate::config::settings::reader::Subject for $subject {
            fn read(reader: &mut $crate::config::settings::reader::Reader<'_>) -> Self {
                let heading = None::<&str>$(.or(Some($heading)))?;
                Self {
                    $($field: reader.setting(Self::$field, concat!($($help),+), heading, $value),)+
                }
            }
        }
    };
}

/// Returns the name of the setting that a field holds. It is as long as the field's name.
pub(super) const fn kebab_case<const N: usize>(field: &str) -> [u8; N] {
    let mut name = [0; N];
    let mut at = 0;
    while at < N {
        name[at] = match field.as_bytes()[at] {
            b'_' => b'-',
            byte => byte,
        };
        at += 1;
    }
    name
}
