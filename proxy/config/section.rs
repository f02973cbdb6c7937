//! How a table of the file is declared: a struct, and the description of its keys, from one text.

/// Declares a table of the file: a struct, and the description of its keys, from one text.
///
/// Each field is a key: its doc comment says what it sets and why one would change it; then its type, and
/// optionally `= default`, `in least .. most`, and `otherwise "..."` where the default is no fixed value.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $vis:vis $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident : $kind:ty $(= $default:literal)? $(, in $low:literal .. $high:literal)? $(, otherwise $otherwise:literal)? ;
            )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $doc])+ $vis $field: $kind, )*
        }

        impl $crate::config::read::Table for $name {
            fn section() -> $crate::config::key::Section {
                use $crate::config::key::{Key, Section};
                use $crate::config::read::Field;
                let keys = vec![$({
                    #[allow(unused_mut, reason = "a key with neither default nor bounds is complete as it is")]
                    let mut key = Key {
                        name: stringify!($field),
                        about: concat!($($doc),+).trim_start(),
                        kind: <$kind as Field>::kind(),
                        default: None,
                        otherwise: None,
                        range: None,
                        required: <$kind as Field>::REQUIRED,
                    };
                    $( key.default = Some($crate::config::value::Raw::from($default)); key.required = false; )?
                    $( key.range = Some(($crate::config::value::Raw::from($low), $crate::config::value::Raw::from($high))); )?
                    $( key.otherwise = Some($otherwise); )?
                    key
                }),*];
                Section { about: concat!($($about),+).trim_start(), keys }
            }

            fn read_keys(
                report: &mut $crate::config::report::Report,
                path: &str,
                table: &::toml::de::DeTable<'_>,
            ) -> Option<Self> {
                let section = <Self as $crate::config::read::Table>::section();
                $crate::config::read::place_keys(report, path, table, &section.keys);
                let mut keys = section.keys.iter();
                $( let $field: Option<$kind> = keys.next().and_then(|key| $crate::config::read::read_key(report, path, table, key)); )*
                Some($name { $( $field: $field?, )* })
            }
        }
    };
}
pub(super) use section;
