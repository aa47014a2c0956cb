/// Defines `ALL` of an enum without fields: each value once, at the index of its discriminant. The expansion does not
/// compile if a variant is missing or out of place.
macro_rules! all {
    ($type:ident: [$($variant:ident),+ $(,)?]) => {
        impl $type {
            /// All values.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];
        }

        const _: () = {
            // An exhaustive match: a missing variant is a compile error.
            const fn place(value: $type) -> usize {
                match value {
                    $($type::$variant => $type::$variant as usize),+
                }
            }
            let mut at = 0;
            while at < $type::ALL.len() {
                assert!(place($type::ALL[at]) == at);
                at += 1;
            }
        };
    };
}
