//! `basic_auth_users`: who may ask with which password.

use std::collections::BTreeMap;
use std::fmt;

use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use base64::engine::{Engine as _, GeneralPurposeConfig};

use super::entry::{is_blank, scalar};
use crate::yaml::findings::{Entry, Findings};

const SECTION: &str = "a map of users and the bcrypt hashes of their passwords";
const HASH: &str = "the bcrypt hash of a password, 60 characters that begin with $2y$10$ or the like, \
                    as `htpasswd -nBC 10 \"\"` prints it";

/// The costs that bcrypt knows, and the one from which on each look at a password takes seconds.
const COST_MIN: u32 = 4;
const COST_MAX: u32 = 31;
const COST_SLOW: u32 = 15;

/// How much of a password bcrypt takes.
const PASSWORD_BYTES: usize = 72;

/// Digits as bcrypt writes them. Some programs leave bits in the last one that mean nothing.
const DIGITS: GeneralPurpose = GeneralPurpose::new(&BCRYPT, LENIENT);
const LENIENT: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);

/// A password, as far as we know it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    cost: u32,
    salt: [u8; 16],
    hash: [u8; 23],
}

/// The users that are written in the section.
pub(super) fn read(found: &mut Findings, section: &Entry<'_>) -> BTreeMap<String, PasswordHash> {
    // Unlike another key, a user without a value is a mistake and not one that nobody has written.
    if is_blank(section.value) {
        return BTreeMap::new();
    }
    let entries = found.entries(section.value, &section.path, SECTION);
    entries.iter().filter_map(|entry| user(found, entry)).collect()
}

fn user(found: &mut Findings, entry: &Entry<'_>) -> Option<(String, PasswordHash)> {
    if entry.name.contains(':') {
        let message =
            "expected a name without a colon, by which it is parted from the password when it is sent";
        found.problem(entry.key, &entry.path, message);
    }
    let hash = PasswordHash::parse(scalar(found, entry, HASH)?);
    match &hash {
        None => found.problem(entry.value, &entry.path, format!("expected {HASH}, found another text")),
        Some(hash) if hash.cost >= COST_SLOW => {
            let message = format!(
                "a cost of {} makes each look at a password take seconds; 10 to 12 is usual",
                hash.cost
            );
            found.warning(entry.value, &entry.path, message);
        }
        Some(_) => {}
    }
    Some((entry.name.to_owned(), hash?))
}

// === impl PasswordHash ===

impl PasswordHash {
    /// Reads `$2y$10$`, 22 digits of salt and 31 of the hash.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let versions = ["$2a$", "$2b$", "$2x$", "$2y$"];
        let (cost, digits) =
            versions.iter().find_map(|version| text.strip_prefix(version))?.split_once('$')?;
        let is_cost = cost.len() == 2 && cost.bytes().all(|digit| digit.is_ascii_digit());
        let cost = cost.parse().ok().filter(|cost| is_cost && (COST_MIN..=COST_MAX).contains(cost))?;
        let (salt, hash) = digits.split_at_checked(22)?;
        let salt = DIGITS.decode(salt).ok()?.try_into().ok()?;
        Some(Self { cost, salt, hash: DIGITS.decode(hash).ok()?.try_into().ok()? })
    }

    /// Whether this is the hash of `password`. Takes as long as its cost says, some 50 ms with a cost of 10, whatever
    /// the password is.
    #[must_use]
    pub fn is_of(&self, password: &[u8]) -> bool {
        // It ends with a zero byte, if there is room for one.
        let mut bytes: Vec<u8> = password.iter().copied().take(PASSWORD_BYTES).collect();
        bytes.resize(PASSWORD_BYTES.min(bytes.len() + 1), 0);
        let hash = bcrypt::bcrypt(self.cost, self.salt, &bytes);
        // Every byte is looked at: how many are right is not to be told by the time that it takes.
        hash.iter().zip(&self.hash).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
    }

    /// What bcrypt's time grows with: it doubles with each step.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.cost
    }

    /// All of it, by which two hashes are told apart.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        self.cost.to_be_bytes().into_iter().chain(self.salt).chain(self.hash)
    }
}

impl fmt::Debug for PasswordHash {
    /// No log should have what a password could be guessed by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash() {
        // Made by libxcrypt and jBCrypt: each version, no password, one with letters of two bytes, one that is cut off.
        let long = "x".repeat(100);
        let cases = [
            ("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a"),
            ("$2b$04$abcdefghijklmnopqrstuugIEnm3ZbWF6xb2GcoE3L1CoGJFMKtu.", "swordfish"),
            ("$2y$04$ABCDEFGHIJKLMNOPQRSTUu8j1U7juAKgrFqRuEfOyY5KZo6M4DNqm", ""),
            ("$2y$05$......................jTSsgdsGrSUEJypSGGQMjQWbRgok4si", "Grüße"),
            ("$2a$04$ABCDEFGHIJKLMNOPQRSTUuuPMGVdMuE6yqNwaDAANxW.7cK/ZbrX6", &long),
            ("$2a$04$ABCDEFGHIJKLMNOPQRSTUuuPMGVdMuE6yqNwaDAANxW.7cK/ZbrX6", &long[..72]),
        ];
        for (hash, password) in cases {
            let hash = PasswordHash::parse(hash).unwrap();
            assert!(hash.is_of(password.as_bytes()), "{password}");
            assert!(!hash.is_of(b"b"), "{password}");
        }
    }

    #[test]
    fn what_is_no_hash_is_seen() {
        let good = "$2y$10$wHoMayAskAndOverWhat..RaJ/N/PvbU91fJw0Xdfk38mUTHd/ijy";
        assert!(PasswordHash::parse(good).is_some());
        let wrong = [
            "",
            "hunter2",
            "$2y$10$",
            "$1$abc$def",
            &good[..59],
            &format!("{good}x"),
            &good.replace("$10$", "$+9$"),
            &good.replace("$10$", "$03$"),
            &good.replace("$10$", "$32$"),
            &good.replace('/', "ä"),
            &good.replace('/', "!"),
        ];
        for text in wrong {
            assert_eq!(PasswordHash::parse(text), None, "{text}");
        }
        assert!(!format!("{:?}", PasswordHash::parse(good)).contains("wHo"));
    }
}
