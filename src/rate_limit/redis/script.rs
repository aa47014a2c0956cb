use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, RedisWrite, Script, ServerErrorKind};

use crate::rate_limit::Quota;
use crate::rate_limit::decision::Decision;

const SCRIPT: &str = include_str!("script.lua");

/// What the script returns.
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

    /// One question: may `key` make a request, under all of `quotas`?
    ///
    /// Allocates the one command that is sent: it outlives the question when that is cancelled.
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
            // With Redis Cluster what is in the first braces decides on the slot: all quotas of a key share one.
            cmd.write_arg_fmt(format_args!("{prefix}:{{{key}}}:{quota}"));
        }
        for quota in quotas {
            for number in cost(quota) {
                cmd.write_arg_fmt(number);
            }
        }
        cmd
    }

    /// Asks. The script is loaded when Redis does not know it: at first, after a restart or a failover, and
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
        // Not `Script::load_async`: in debug builds it panics if something else than the hash is answered.
        let mut load = redis::cmd("SCRIPT");
        let hash: String = load.arg("LOAD").arg(SCRIPT).query_async(conn).await?;
        match hash == self.script.get_hash() {
            true => Ok(()),
            false => Err((ErrorKind::UnexpectedReturnType, "not the script's hash").into()),
        }
    }

    /// A question that uses up nobody's quota, but reads and writes as every other one does: so it also finds
    /// out that this Redis is a replica, is full, or does not let us write.
    pub(super) fn probe(&self, prefix: &str) -> Cmd {
        self.command(prefix, &"probe", &[Quota::per_second(1000)])
    }
}

/// What one request costs and what a burst is worth, in whole microseconds and parts of one.
///
/// An interval is `period / requests`: in parts of which a microsecond has `1000 * requests`, it is a whole
/// number, and so is every multiple.
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

/// Of which the fault is in this one key: Redis itself is well.
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
            // From now until the year 2244.
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
