//! Histograms as bytes: HdrHistogram V2, deflated, which other tools read too.

use std::error::Error;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};

use crate::client::measure::histogram;

/// Why bytes are no histogram.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// Before the deflated part: a cookie and its length, 4 bytes each.
const OUTER: usize = 8;
/// Of the inner part: cookie and length of what follows, 4 bytes each, before what two histograms have in common, its
/// bounds and digits, ends.
const COOKIE_AND_LENGTH: usize = 8;
const HEADER: usize = 40;
/// More than the inner part can have: 9 bytes for each of the counts that the bounds allow for, of which there are some
/// 36 thousand.
const MOST: u64 = 1 << 20;

/// The histogram's bytes.
pub(super) fn encode(histogram: &Histogram<u64>) -> Result<Vec<u8>, Cause> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .map_err(|error| Cause::from(error.to_string()))?;
    Ok(bytes)
}

/// The histogram of these bytes. It has the bounds that all of a report's histograms have. Sizes are looked at before
/// anything is allocated by them: the bytes may come from a file that somebody else wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<Histogram<u64>, Cause> {
    let deflated = bytes.get(OUTER..).ok_or("it is too short for a histogram")?;
    let mut inner = Vec::new();
    ZlibDecoder::new(deflated).take(MOST).read_to_end(&mut inner)?;
    let empty: &[u8] = &EMPTY;
    let common = COOKIE_AND_LENGTH..HEADER;
    if inner.get(..4) != empty.get(..4) || inner.get(common.clone()) != empty.get(common) {
        return Err("it is no HdrHistogram V2 from 1 ps to an hour with 3 digits".into());
    }
    let told = inner.get(4..8).and_then(|length| length.try_into().ok()).map_or(0, u32::from_be_bytes);
    if usize::try_from(told).ok() != inner.len().checked_sub(HEADER) {
        return Err(format!("it has {} bytes of counts and says {told}", inner.len() - HEADER).into());
    }
    Deserializer::new().deserialize(&mut &inner[..]).map_err(|error| Cause::from(error.to_string()))
}

/// An empty histogram, not deflated: what all have in common.
static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(&histogram(), &mut bytes).expect("memory can be written, and it is small");
    bytes
});

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    #[test]
    fn a_histogram_comes_back_as_it_was() {
        let mut all = histogram();
        for n in 0..10_000_u64 {
            all.record(1 + n * n * 12_345).unwrap();
        }
        let bytes = encode(&all).unwrap();
        assert!(bytes.len() < 20_000, "{}", bytes.len());
        assert_eq!(decode(&bytes).unwrap(), all);
        assert_eq!(decode(&encode(&histogram()).unwrap()).unwrap(), histogram());
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = encode(&histogram()).unwrap();
        for other in [&bytes[..bytes.len() / 2], b"", b"no histogram, but more than forty bytes of text"] {
            assert!(decode(other).is_err());
        }
        let mut wide = Histogram::<u64>::new_with_bounds(1, 1 << 60, 3).unwrap();
        wide.record(1 << 55).unwrap();
        assert!(decode(&encode(&wide).unwrap()).unwrap_err().to_string().contains("3 digits"));
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut lie = EMPTY.clone();
        lie[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut bytes = vec![0; OUTER];
        let mut deflate = ZlibEncoder::new(&mut bytes, Compression::default());
        deflate.write_all(&lie).unwrap();
        deflate.finish().unwrap();
        assert!(decode(&bytes).unwrap_err().to_string().contains("says 4294967295"));
    }
}
