//! CHECKSUM, BINARY_CHECKSUM and HASHBYTES.
//!
//! The hash functions are the ones of RFC 1321 and FIPS 180-4; the tests use their published vectors.
//! CHECKSUM here is stable and case-insensitive for texts, but its numbers are not SQL Server's.

use std::sync::LazyLock;

use super::super::compare::key_bytes;
use super::super::{SqlError, Ty, Typed, Val};
use super::Args;

/// Calls a hash function; `None` when there is no such function here.
pub(super) fn call(a: &Args<'_>) -> Option<Result<Typed, SqlError>> {
    Some(match a.name {
        "checksum" | "binary_checksum" => checksum(a),
        "hashbytes" => hash_bytes(a),
        _ => return None,
    })
}

fn checksum(a: &Args<'_>) -> Result<Typed, SqlError> {
    let mut all = 0u32;
    for t in a.list {
        let mut key = Vec::new();
        if a.name == "binary_checksum" {
            key.extend(format!("{:?}", t.val).bytes());
        } else {
            key_bytes(&t.ty, &t.val, &mut key);
        }
        let one =
            key.iter().fold(0x811C_9DC5u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
        all = all.rotate_left(4) ^ one;
    }
    Ok(Typed::int(i32::from_ne_bytes(all.to_ne_bytes())))
}

fn hash_bytes(a: &Args<'_>) -> Result<Typed, SqlError> {
    a.count(2)?;
    let ty = Ty::VarBinary(8000);
    let Some(algorithm) = a.string(0)? else { return Ok(Typed::null(ty)) };
    let x = a.get(1)?;
    if !x.ty.is_text() && !x.ty.is_binary() {
        return Err(SqlError::invalid_argument(x.ty.name(), 2, "hashbytes"));
    }
    let Val::Bytes(input) = super::super::cast(x, &Ty::VarBinary(super::super::MAX), None)? else {
        return Ok(Typed::null(ty));
    };
    let digest = match algorithm.to_ascii_uppercase().as_str() {
        "MD5" => md5(&input),
        "SHA" | "SHA1" => sha1(&input),
        "SHA2_256" => sha256(&input),
        _ => return Err(SqlError::unknown(format_args!("the hash algorithm '{algorithm}'"))),
    };
    Ok(Typed::new(ty, Val::bytes(&digest)))
}

/// The message with its padding; `big` is the byte order of the length.
fn padded(input: &[u8], big: bool) -> Vec<u8> {
    let mut m = input.to_vec();
    m.push(0x80);
    while m.len() % 64 != 56 {
        m.push(0);
    }
    let bits = input.len() as u64 * 8;
    m.extend(if big { bits.to_be_bytes() } else { bits.to_le_bytes() });
    m
}

fn md5(input: &[u8]) -> Vec<u8> {
    const SHIFTS: [[u32; 4]; 4] =
        [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state = [0x6745_2301u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
    for block in padded(input, false).chunks(64) {
        let words: Vec<u32> =
            block.chunks(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64usize {
            let (f, g) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let k = ((i as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(f).wrapping_add(k).wrapping_add(words[g]);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (s, v) in state.iter_mut().zip([a, b, c, d]) {
            *s = s.wrapping_add(v);
        }
    }
    state.iter().flat_map(|s| s.to_le_bytes()).collect()
}

fn sha1(input: &[u8]) -> Vec<u8> {
    let mut state = [0x6745_2301u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    for block in padded(input, true).chunks(64) {
        let mut w: Vec<u32> =
            block.chunks(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]])).collect();
        for i in 16..80 {
            w.push((w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (i, word) in w.iter().enumerate() {
            let (f, k) = match i / 20 {
                0 => ((b & c) | (!b & d), 0x5A82_7999),
                1 => (b ^ c ^ d, 0x6ED9_EBA1),
                2 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6u32),
            };
            let sum = a
                .rotate_left(5)
                .wrapping_add(f)
                .wrapping_add(e)
                .wrapping_add(k)
                .wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, sum);
        }
        for (s, v) in state.iter_mut().zip([a, b, c, d, e]) {
            *s = s.wrapping_add(v);
        }
    }
    state.iter().flat_map(|s| s.to_be_bytes()).collect()
}

/// The first 32 bits of the fractional parts of the roots of the first primes: the constants of SHA-256.
fn roots(count: usize, cube: bool) -> Vec<u32> {
    let mut out = Vec::new();
    let mut n = 2u128;
    while out.len() < count {
        if (2..n).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d)) {
            // the integer root of n * 2^64 (2^96 for the cube root) has 32 binary places
            let (mut low, mut high) = (0u128, 1u128 << 40);
            let target = n << if cube { 96 } else { 64 };
            while high - low > 1 {
                let middle = (low + high) / 2;
                let power = if cube { middle * middle * middle } else { middle * middle };
                if power <= target { low = middle } else { high = middle }
            }
            out.push(low as u32);
        }
        n += 1;
    }
    out
}

fn sha256(input: &[u8]) -> Vec<u8> {
    static STATE: LazyLock<Vec<u32>> = LazyLock::new(|| roots(8, false));
    static CONSTANTS: LazyLock<Vec<u32>> = LazyLock::new(|| roots(64, true));
    let (mut state, constants) = (STATE.clone(), &*CONSTANTS);
    for block in padded(input, true).chunks(64) {
        let mut w: Vec<u32> =
            block.chunks(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]])).collect();
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w.push(w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1));
        }
        let mut v = state.clone();
        for i in 0..64 {
            let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let t1 = v[7]
                .wrapping_add(s1)
                .wrapping_add(choice)
                .wrapping_add(constants[i])
                .wrapping_add(w[i]);
            let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(t1);
            v[0] = t1.wrapping_add(s0).wrapping_add(majority);
        }
        for (s, x) in state.iter_mut().zip(v) {
            *s = s.wrapping_add(x);
        }
    }
    state.iter().flat_map(|s| s.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::text::hex;
    use super::*;

    #[test]
    fn published_vectors() {
        assert_eq!(hex(&md5(b"abc")), "900150983CD24FB0D6963F7D28E17F72");
        assert_eq!(hex(&sha1(b"abc")), "A9993E364706816ABA3E25717850C26C9CD0D89D");
        assert_eq!(
            hex(&sha256(b"abc")),
            "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
        );
        let long = [b'a'; 200];
        assert_eq!(md5(&long).len() + sha1(&long).len() + sha256(&long).len(), 16 + 20 + 32);
    }
}
