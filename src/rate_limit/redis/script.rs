use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, RedisWrite, Script, ServerErrorKind};

use crate::rate_limit::Quota;
use crate::rate_limit::decision::Decision;

const SCRIPT: &str = include_str!("script.lua");

/// The script's result.
type Answer = (u8, u64, usize, u64, u64);

/// The script and its hash.
pub(super) struct Gcra {
    script: Script,
}

impl Gcra {
    pub(super) fn new() -> Self {
        Gcra {
            script: Script::new(SCRIPT),
        }
    }

    /// Builds the query whether `key` may make a request under all `quotas`.
    ///
    /// Allocates the one command that is sent: it outlives a cancelled query.
    pub(super) fn command(
        &self,
        prefix: &str,
        key: &dyn std::fmt::Display,
        quotas: &[Quota],
    ) -> Cmd {
        let mut cmd = Cmd::with_capacity(
            3 + 6 * quotas.len(),
            64 + (prefix.len() + 128) * quotas.len(),
        );
        cmd.arg("EVALSHA")
            .arg(self.script.get_hash())
            .arg(quotas.len());
        for quota in quotas {
            // Redis Cluster selects the slot by the text in the first braces: all quotas of a key share one.
            cmd.write_arg_fmt(format_args!("{prefix}:{{{key}}}:{quota}"));
        }
        for quota in quotas {
            for number in cost(quota) {
                cmd.write_arg_fmt(number);
            }
        }
        cmd
    }

    /// Runs the query. The script is loaded if Redis does not know it: at first, after a restart or a failover, and
    /// after `SCRIPT FLUSH`.
    pub(super) async fn ask(
        &self,
        cmd: &Cmd,
        redis: &mut MultiplexedConnection,
    ) -> Result<Decision, RedisError> {
        let answer: Answer = match cmd.query_async(redis).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.load(redis).await?;
                cmd.query_async(redis).await?
            }
            answer => answer?,
        };
        let (admitted, wait, quota, remaining, reset) = answer;
        Ok(Decision {
            admitted: admitted == 1,
            wait: Duration::from_micros(wait),
            quota,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: Duration::from_micros(reset),
        })
    }

    pub(super) async fn load(&self, conn: &mut MultiplexedConnection) -> Result<(), RedisError> {
        // Not `Script::load_async`: in debug builds it panics if the answer is anything but the hash.
        let mut load = redis::cmd("SCRIPT");
        let hash: String = load.arg("LOAD").arg(SCRIPT).query_async(conn).await?;
        match hash == self.script.get_hash() {
            true => Ok(()),
            false => Err((ErrorKind::UnexpectedReturnType, "not the script's hash").into()),
        }
    }

    /// Builds a query that charges no client's quota, but reads and writes like any other: it therefore also detects
    /// that this Redis is a replica, is full, or denies us writing.
    pub(super) fn probe(&self, prefix: &str) -> Cmd {
        self.command(prefix, &"probe", &[Quota::per_second(1000)])
    }
}

/// Returns the cost of one request and the worth of a burst, in whole microseconds and fractions of one.
///
/// An interval is `period / requests`. In units of which a microsecond has `1000 * requests`, it is a whole number, and
/// so is every multiple.
fn cost(quota: &Quota) -> [u128; 5] {
    let parts = 1000 * u128::from(quota.requests().max(1));
    let each = quota.period().as_nanos();
    let full = each * u128::from(quota.largest_burst());
    [
        each / parts,
        each % parts,
        parts,
        full / parts,
        full % parts,
    ]
}

/// Returns `true` if the error concerns this one key: Redis itself is healthy.
pub(super) fn only_this_key(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::Key;

    #[test]
    fn an_interval_is_exact_even_below_a_microsecond() {
        let third = Quota::per_second(3).burst(2);
        assert_eq!(cost(&third), [333_333, 1000, 3000, 666_666, 2000]);
        let fast = Quota::per_second(3_000_000).burst(4);
        let parts = 3_000_000_000;
        assert_eq!(cost(&fast), [0, 1_000_000_000, parts, 1, 1_000_000_000]);
    }

    #[test]
    fn all_numbers_stay_below_what_lua_can_count() {
        const EXACT: u128 = 1 << 53;
        let year = Duration::from_secs(366 * 86_400);
        for quota in [
            Quota::per(1, year).burst(10),
            Quota::per(u32::MAX, year),
            Quota::per(u32::MAX, Duration::from_secs(5)),
        ] {
            quota.check().unwrap();
            let [each, each_part, parts, full, full_part] = cost(&quota);
            // Any time from now until the year 2244.
            let now = 8_646_000_000 * 1_000_000;
            assert!(now + full + each + 2 < EXACT, "{quota}");
            assert!(each_part + full_part + parts < EXACT, "{quota}");
        }
    }

    #[test]
    fn keys_and_quotas_have_their_own_place() {
        let gcra = Gcra::new();
        let cmd = gcra.command(
            "app",
            &Key::from("x"),
            &[Quota::per_second(5), Quota::per_day(9)],
        );
        let packed = cmd.get_packed_command();
        let text = String::from_utf8_lossy(&packed);
        assert!(text.contains("app:{text:x}:5/s\r\n"), "{text}");
        assert!(text.contains("app:{text:x}:9/d\r\n"), "{text}");
    }
}
