/// `ALL` of an enum without fields: each value once, at the place that is its discriminant. It does not compile
/// as long as a variant is missing, or stands elsewhere.
macro_rules! all {
    ($type:ident: [$($variant:ident),+ $(,)?]) => {
        impl $type {
            /// All of them.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];
        }

        const _: () = {
            // It has no other arm.
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
