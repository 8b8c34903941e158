//! Enums whose values have names: a list kept by hand would forget the next value.

/// Declares an enum, with `ALL` of its values, and the `name` of each. The values count from 0 in the order of `ALL`.
macro_rules! labels {
    (
        $(#[$about:meta])*
        $visible:vis enum $name:ident {
            $($(#[$doc:meta])* $value:ident = $label:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $visible enum $name {
            $($(#[$doc])* $value,)+
        }

        impl $name {
            /// All values, in their order.
            $visible const ALL: [Self; [$($label),+].len()] = [$(Self::$value),+];

            /// Returns the name.
            #[must_use]
            $visible const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $label,)+
                }
            }
        }
    };
}

pub(crate) use labels;
