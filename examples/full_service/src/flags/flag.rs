//! A flag: its form, its limits, and its value for a tenant.

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use time::OffsetDateTime;

use super::bucket::{self, BUCKETS};

/// The most names in a list of a flag.
const MOST_NAMES: usize = 10_000;
/// The longest name of a tenant, in bytes.
const LONGEST_NAME: usize = 256;
const LONGEST_KEY: usize = 64;
/// The names of a list that a log line shows.
const SHOWN_NAMES: usize = 10;

/// A flag. Its key is that of the map that it is in.
///
/// A field that is not known is an error: an instance that does not know a rule must not apply the rest of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// `false` switches the flag off for all, whatever else it says.
    pub enabled: bool,
    /// The share of tenants that have it.
    pub rollout: Rollout,
    /// The tenants that have it whatever the rollout.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub tenants: Names,
    /// The tenants that do not have it, even if they are among `tenants`.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub denied: Names,
    /// Flags with one salt are on for the same tenants; a new salt draws them anew. The default is the key.
    #[serde(
        default,
        deserialize_with = "salt",
        skip_serializing_if = "Option::is_none"
    )]
    pub salt: Option<Box<str>>,
    /// The version of all flags that its last change made; 0 in a file.
    #[serde(default)]
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<Box<str>>,
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub updated_at: Option<OffsetDateTime>,
}

/// A share of tenants, in thousandths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Rollout(u32);

/// The names of some tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Box<str>>", into = "Vec<Box<str>>")]
pub struct Names(HashSet<Box<str>>);

/// The value of a flag for a tenant, and the rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    pub value: bool,
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The flag is not enabled.
    Disabled,
    /// The tenant is in the list `denied`.
    Denied,
    /// The tenant is in the list `tenants`.
    Tenant,
    /// The tenant's bucket is within the rollout, or is not.
    Percentage,
    /// There is no tenant, so no bucket: only a rollout of 100 is for all.
    Anonymous,
}

// === impl Flag ===

impl Flag {
    /// Reads the JSON that Redis, the cache or a client has.
    ///
    /// # Errors
    ///
    /// A field is missing, unknown or out of its limits.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    /// Decides for a tenant, or for a caller without one. Takes neither a lock nor memory.
    pub fn decide(&self, key: &str, tenant: Option<&str>) -> Decision {
        let decided = |value, reason| Decision { value, reason };
        if !self.enabled {
            return decided(false, Reason::Disabled);
        }
        let Some(tenant) = tenant else {
            return decided(self.rollout == Rollout::ALL, Reason::Anonymous);
        };
        if self.denied.contains(tenant) {
            return decided(false, Reason::Denied);
        }
        if self.tenants.contains(tenant) {
            return decided(true, Reason::Tenant);
        }
        let within = match self.rollout {
            // Not a bucket's business.
            Rollout::NONE => false,
            Rollout::ALL => true,
            rollout => rollout.includes(bucket::of(self.seed(key), tenant)),
        };
        decided(within, Reason::Percentage)
    }

    /// Returns the text that tenants are drawn by.
    pub fn seed<'a>(&'a self, key: &'a str) -> &'a str {
        self.salt.as_deref().unwrap_or(key)
    }
}

/// The form for a log line.
impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.enabled { "enabled" } else { "disabled" };
        write!(f, "{state}, rollout {} %", f64::from(self.rollout))?;
        for (list, names) in [("tenants", &self.tenants), ("denied", &self.denied)] {
            if !names.is_empty() {
                write!(f, ", {list} {names}")?;
            }
        }
        if let Some(salt) = &self.salt {
            write!(f, ", salt {salt}")?;
        }
        write!(f, ", version {}", self.version)
    }
}

/// Checks a key.
///
/// # Errors
///
/// It is not one.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    match (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(valid) {
        true => Ok(()),
        false => Err("a key has 1 to 64 lower-case letters, digits, dots, hyphens and underscores"),
    }
}

fn salt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    let salt = Option::<Box<str>>::deserialize(deserializer)?;
    // A zero byte would end the seed early.
    let valid = |salt: &str| {
        (1..=LONGEST_KEY).contains(&salt.len()) && salt.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match salt.as_deref().is_none_or(valid) {
        true => Ok(salt),
        false => Err(D::Error::custom(
            "a salt has 1 to 64 visible ASCII characters",
        )),
    }
}

// === impl Rollout ===

impl Rollout {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(BUCKETS);

    /// Returns true if the rollout has come to this bucket. Raising it never takes one out.
    pub fn includes(self, bucket: u32) -> bool {
        bucket < self.0
    }
}

impl TryFrom<f64> for Rollout {
    type Error = &'static str;

    fn try_from(percent: f64) -> Result<Self, Self::Error> {
        let thousandths = (percent * 1000.0).round();
        // The nearest number to 12.345 is not 12.345.
        let exact = (percent * 1000.0 - thousandths).abs() < 1e-6;
        match exact && (0.0..=f64::from(BUCKETS)).contains(&thousandths) {
            true => Ok(Self(thousandths as u32)),
            false => Err("a rollout is 0 to 100, with at most 3 decimals"),
        }
    }
}

impl From<Rollout> for f64 {
    fn from(rollout: Rollout) -> Self {
        Self::from(rollout.0) / 1000.0
    }
}

// === impl Names ===

impl Names {
    pub fn contains(&self, tenant: &str) -> bool {
        self.0.contains(tenant)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl TryFrom<Vec<Box<str>>> for Names {
    type Error = &'static str;

    fn try_from(names: Vec<Box<str>>) -> Result<Self, Self::Error> {
        if names.len() > MOST_NAMES {
            return Err("a list has at most 10,000 tenants");
        }
        let fits = |name: &str| (1..=LONGEST_NAME).contains(&name.len());
        match names.iter().all(|name| fits(name)) {
            true => Ok(Self(names.into_iter().collect())),
            false => Err("a tenant has 1 to 256 bytes"),
        }
    }
}

/// The names in order, so that the same list has the same text.
impl From<Names> for Vec<Box<str>> {
    fn from(names: Names) -> Self {
        let mut names: Self = names.0.into_iter().collect();
        names.sort_unstable();
        names
    }
}

/// The first names, for a log line.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.0.iter().collect();
        names.sort_unstable();
        let (shown, rest) = names.split_at(names.len().min(SHOWN_NAMES));
        f.debug_list().entries(shown).finish()?;
        match rest.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
