//! Whole numbers wider than 128 bits, for the intermediate results of decimal arithmetic.

/// An unsigned number, least significant limb first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wide(Vec<u32>);

impl Wide {
    pub(super) fn new(mut n: u128) -> Self {
        let mut limbs = Vec::new();
        while n > 0 {
            limbs.push(n as u32);
            n >>= 32;
        }
        Self(limbs)
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let mut out = vec![0u32; self.0.len() + other.0.len()];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            for (j, b) in other.0.iter().enumerate() {
                let t = u64::from(*a) * u64::from(*b) + u64::from(out[i + j]) + carry;
                out[i + j] = t as u32;
                carry = t >> 32;
            }
            out[i + other.0.len()] = carry as u32;
        }
        Self(out).trimmed()
    }

    pub(super) fn times_ten_to(&self, mut n: u32) -> Self {
        let mut out = self.clone();
        while n > 0 {
            let step = n.min(38);
            out = out.times(&Self::new(10u128.pow(step)));
            n -= step;
        }
        out
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn bit(&self, i: usize) -> bool {
        self.0[i / 32] >> (i % 32) & 1 == 1
    }

    /// Quotient and remainder; `by` is not zero. Bit by bit: only the rare wide cases come here.
    pub(super) fn divided(&self, by: u128) -> (Self, u128) {
        let mut quotient = vec![0u32; self.0.len()];
        let mut rest = 0u128;
        for i in (0..self.0.len() * 32).rev() {
            let overflow = rest >> 127 == 1;
            rest = (rest << 1) | u128::from(self.bit(i));
            if overflow || rest >= by {
                rest = rest.wrapping_sub(by);
                quotient[i / 32] |= 1 << (i % 32);
            }
        }
        (Self(quotient).trimmed(), rest)
    }

    /// `None` when it does not fit.
    pub(super) fn to_u128(&self) -> Option<u128> {
        if self.0.len() > 4 {
            return None;
        }
        Some(self.0.iter().rev().fold(0, |n, limb| (n << 32) | u128::from(*limb)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_divide_back() {
        let a = 99_999_999_999_999_999_999_999_999_999_999_999_999u128;
        for b in [1u128, 7, 1 << 64, a, u128::MAX] {
            let (q, r) = Wide::new(a).times(&Wide::new(b)).divided(b);
            assert_eq!((q.to_u128(), r), (Some(a), 0), "{b}");
        }
        let (q, r) = Wide::new(123).times_ten_to(70).divided(10u128.pow(38));
        assert_eq!((q.to_u128(), r), (Some(123 * 10u128.pow(32)), 0));
        assert_eq!(Wide::new(1).times_ten_to(40).to_u128(), None);
    }
}
