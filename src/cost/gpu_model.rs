//! The normalised model of a GPU, by which prices are found.
//!
//! One board has many names. NVML says `NVIDIA A100-SXM4-80GB` or `NVIDIA A100 80GB PCIe`, and drivers before R465 leave
//! `NVIDIA` out or say `Tesla` instead. GPU Feature Discovery turns spaces into hyphens and appends `-MIG-1g.10gb` and
//! `-SHARED`. GKE, Karpenter and people have spellings of their own. All of them are to find one price.
//!
//! A name is read in two steps: what never changes a price (vendor, form factor, kind of memory, MIG and sharing
//! suffixes) is taken away, then the words that are left are looked up *as a whole*. A name that is not in the table
//! keeps its own words as its model, and so has no price unless somebody writes one: an `A10G` is no `A10`, and the
//! vGPU profile `GRID A100DX-4C` is no A100.

use std::iter;
use std::sync::Arc;

/// Words that never tell two prices apart: form factor, socket and kind of memory.
const NOISE: &[&str] = &[
    "dgxs", "fhhl", "gddr6", "hbm2", "hbm2e", "hbm3", "hbm3e", "hgx", "pcie", "sxm", "sxm2", "sxm3", "sxm4",
    "sxm5", "sxm6",
];

/// The models that we know, whether or not they have a list price.
const MODELS: &[&str] = &[
    "nvidia-a10",
    "nvidia-a100-40gb",
    "nvidia-a100-64gb",
    "nvidia-a100-80gb",
    "nvidia-a10g",
    "nvidia-a10m",
    "nvidia-a16",
    "nvidia-a2",
    "nvidia-a30",
    "nvidia-a40",
    "nvidia-a800-40gb",
    "nvidia-a800-40gb-active",
    "nvidia-a800-80gb",
    "nvidia-b200",
    "nvidia-b300",
    "nvidia-gb10",
    "nvidia-gb200",
    "nvidia-gb300",
    "nvidia-gh200",
    "nvidia-gh200-144gb",
    "nvidia-h100-80gb",
    "nvidia-h100-94gb",
    "nvidia-h100-96gb",
    "nvidia-h100-nvl",
    "nvidia-h20",
    "nvidia-h20-3e",
    "nvidia-h20-nvl16",
    "nvidia-h200",
    "nvidia-h200-nvl",
    "nvidia-h800-80gb",
    "nvidia-h800-nvl",
    "nvidia-k80",
    "nvidia-l2",
    "nvidia-l20",
    "nvidia-l4",
    "nvidia-l40",
    "nvidia-l40s",
    "nvidia-m60",
    "nvidia-p100-12gb",
    "nvidia-p100-16gb",
    "nvidia-p4",
    "nvidia-p40",
    "nvidia-quadro-rtx-6000",
    "nvidia-rtx-6000-ada",
    "nvidia-rtx-6000d",
    "nvidia-rtx-a5000",
    "nvidia-rtx-a6000",
    "nvidia-rtx-pro-4500",
    "nvidia-rtx-pro-6000",
    "nvidia-rtx-pro-6000-max-q",
    "nvidia-rtx-pro-6000-workstation",
    "nvidia-t4",
    "nvidia-t4g",
    "nvidia-v100-16gb",
    "nvidia-v100-32gb",
    "nvidia-v100s-32gb",
];

/// Spellings, without vendor and noise, that are not a model's own words.
const SPELLINGS: &[(&str, &str)] = &[
    // Memory that a name adds, though the model exists in one size only.
    ("a10-24gb", "nvidia-a10"),
    ("a10g-24gb", "nvidia-a10g"),
    ("a30-24gb", "nvidia-a30"),
    ("a40-48gb", "nvidia-a40"),
    ("b200-180gb", "nvidia-b200"),
    ("h200-141gb", "nvidia-h200"),
    ("l4-24gb", "nvidia-l4"),
    ("l40-48gb", "nvidia-l40"),
    ("l40s-48gb", "nvidia-l40s"),
    ("t4-16gb", "nvidia-t4"),
    // NVML names that leave the memory out: `NVIDIA H100 PCIe`, `NVIDIA H800`.
    ("h100", "nvidia-h100-80gb"),
    ("h800", "nvidia-h800-80gb"),
    // The air-cooled B300, `NVIDIA B300 SXM6 AC`.
    ("b300-ac", "nvidia-b300"),
    // 120 and 480 GB are the memory of the Grace CPU beside the same 96 GB GPU.
    ("gh200-120gb", "nvidia-gh200"),
    ("gh200-480gb", "nvidia-gh200"),
    ("gh200-96gb", "nvidia-gh200"),
    ("gh200-144g", "nvidia-gh200-144gb"),
    // The clouds' RTX PRO boards are the server editions. A workstation's board is sold, not rented by the hour.
    ("rtx-pro-6000-blackwell-server-edition", "nvidia-rtx-pro-6000"),
    ("rtx-pro-server-6000", "nvidia-rtx-pro-6000"),
    ("rtx-pro-6000-blackwell-workstation-edition", "nvidia-rtx-pro-6000-workstation"),
    ("rtx-pro-6000-blackwell-max-q-workstation-edition", "nvidia-rtx-pro-6000-max-q"),
    ("rtx-pro-4500-blackwell", "nvidia-rtx-pro-4500"),
    ("rtx-pro-4500-blackwell-server-edition", "nvidia-rtx-pro-4500"),
    ("rtx-pro-server-4500", "nvidia-rtx-pro-4500"),
    ("rtx-6000-ada-generation", "nvidia-rtx-6000-ada"),
    // GKE's labels (`cloud.google.com/gke-accelerator`). With `tesla` they mean the size that GKE had then; an
    // `a100` or `v100` alone may be either size, and therefore finds no price.
    ("h100-mega-80gb", "nvidia-h100-80gb"),
    ("tesla-a100", "nvidia-a100-40gb"),
    ("tesla-p100", "nvidia-p100-16gb"),
    ("tesla-v100", "nvidia-v100-16gb"),
];

/// The normalised model of NVML's product name, a label or any other spelling, such as `nvidia-h100-80gb`.
///
/// A name that nobody knows keeps its words, `NVIDIA RTX A4000` becoming `nvidia-rtx-a4000`. The model of a model is
/// the model itself.
#[must_use]
pub fn of_product(product: &str) -> Arc<str> {
    let product = product.to_ascii_lowercase();
    let words = essential_words(&product);
    let unbranded = without_prefix(&words, &["nvidia", "tesla"]);
    match known_model(&words.join("-")).or_else(|| known_model(&unbranded.join("-"))) {
        Some(model) => model.into(),
        None if unbranded.is_empty() => "nvidia-unknown".into(),
        None => format!("nvidia-{}", unbranded.join("-")).into(),
    }
}

/// Every model that is known by name, with or without a list price, in alphabetical order.
pub fn known() -> impl Iterator<Item = &'static str> {
    MODELS.iter().copied()
}

/// The words of a lower-case name without the vendor in front and without what never changes a price.
fn essential_words(product: &str) -> Vec<&str> {
    let all: Vec<&str> = product
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter(|word| !word.is_empty())
        .collect();
    // The first word is the name itself, whatever it is.
    let [first, rest @ ..] = without_prefix(&all, &["nvidia"]) else { return Vec::new() };
    let rest = rest.iter().filter(|word| !NOISE.contains(word)).take_while(|word| **word != "mig");
    let mut words: Vec<&str> = iter::once(first).chain(rest).copied().collect();
    while words.len() > 1 && words.last() == Some(&"shared") {
        words.pop();
    }
    words
}

fn without_prefix<'a, 'b>(mut words: &'a [&'b str], prefixes: &[&str]) -> &'a [&'b str] {
    while let [first, rest @ ..] = words
        && prefixes.contains(first)
    {
        words = rest;
    }
    words
}

fn known_model(spelling: &str) -> Option<&'static str> {
    let spelt = SPELLINGS.iter().find(|(written, _)| *written == spelling).map(|(_, model)| *model);
    spelt.or_else(|| known().find(|model| model.strip_prefix("nvidia-") == Some(spelling)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(rows: &[(&str, &str)]) {
        for (product, model) in rows {
            assert_eq!(&*of_product(product), *model, "{product}");
        }
    }

    #[test]
    fn labels_of_feature_discovery_find_the_board() {
        check(&[
            ("Tesla-T4", "nvidia-t4"),
            ("Tesla-T4-SHARED", "nvidia-t4"),
            ("NVIDIA-A100-SXM4-80GB", "nvidia-a100-80gb"),
            ("NVIDIA-H100-80GB-HBM3", "nvidia-h100-80gb"),
            ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "nvidia-a100-80gb"),
            ("A100-SXM4-40GB-MIG-1g.5gb-SHARED", "nvidia-a100-40gb"),
            ("NVIDIA-H100-80GB-HBM3-MIG-INVALID", "nvidia-h100-80gb"),
            ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb.me", "nvidia-h100-80gb"),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "nvidia-a100-40gb"),
        ]);
    }

    #[test]
    fn labels_of_clouds_find_the_board() {
        check(&[
            ("nvidia-tesla-t4", "nvidia-t4"),
            ("nvidia-tesla-k80", "nvidia-k80"),
            ("nvidia-tesla-p4", "nvidia-p4"),
            ("nvidia-tesla-p100", "nvidia-p100-16gb"),
            ("nvidia-tesla-v100", "nvidia-v100-16gb"),
            ("nvidia-tesla-a100", "nvidia-a100-40gb"),
            ("nvidia-a100-80gb", "nvidia-a100-80gb"),
            ("nvidia-l4", "nvidia-l4"),
            ("nvidia-h100-80gb", "nvidia-h100-80gb"),
            ("nvidia-h100-mega-80gb", "nvidia-h100-80gb"),
            ("nvidia-h200-141gb", "nvidia-h200"),
            ("nvidia-b200", "nvidia-b200"),
            ("nvidia-gb200", "nvidia-gb200"),
            ("nvidia-rtx-pro-6000", "nvidia-rtx-pro-6000"),
            ("t4g", "nvidia-t4g"),
            ("a10g", "nvidia-a10g"),
            ("l40s", "nvidia-l40s"),
            ("h100", "nvidia-h100-80gb"),
            ("h200", "nvidia-h200"),
            ("rtx-pro-server-6000", "nvidia-rtx-pro-6000"),
        ]);
    }

    #[test]
    fn people_and_simulators_spell_in_their_own_way() {
        check(&[
            ("Nvidia_A100_80GB", "nvidia-a100-80gb"),
            ("  nvidia   A10  ", "nvidia-a10"),
            ("NVIDIA A100-PCIE-80GB", "nvidia-a100-80gb"),
            ("A100-SXM4-40GB", "nvidia-a100-40gb"),
            ("NVIDIA H200 141GB HBM3e", "nvidia-h200"),
            ("NVIDIA B200 180GB HBM3e", "nvidia-b200"),
            ("NVIDIA A30-PCIE-24GB", "nvidia-a30"),
            ("NVIDIA H100 80GB HBM2e", "nvidia-h100-80gb"),
            ("NVIDIA H100 SXM5 80GB", "nvidia-h100-80gb"),
        ]);
    }

    #[test]
    fn a_size_that_was_not_said_is_not_guessed() {
        check(&[("a100", "nvidia-a100"), ("nvidia-v100", "nvidia-v100"), ("NVIDIA GB10", "nvidia-gb10")]);
    }

    #[test]
    fn a_part_of_a_board_is_no_board() {
        for profile in [
            "GRID A100DX-4C",
            "GRID A100X-1-5C",
            "GRID A100-40C",
            "GRID V100D-8Q",
            "GRID T4-16Q",
            "NVIDIA A10-8Q",
            "NVIDIA A10-24Q",
            "NVIDIA A100-40C",
            "NVIDIA A100-4-20C",
            "NVIDIA A16-16A",
            "NVIDIA L4-3Q",
            "NVIDIA L40S-48Q",
            "NVIDIA H100-80C",
            "NVIDIA H100L-94C",
            "NVIDIA RTXA6000-48Q",
        ] {
            let model = of_product(profile);
            assert!(known().all(|known| known != &*model), "{profile} became {model}");
        }
    }

    #[test]
    fn nothing_has_a_model_too() {
        check(&[
            ("", "nvidia-unknown"),
            ("NVIDIA", "nvidia-unknown"),
            ("nvidia tesla", "nvidia-unknown"),
            ("  - _ ", "nvidia-unknown"),
            ("MIG 1g.5gb", "nvidia-mig-1g.5gb"),
            ("SHARED", "nvidia-shared"),
            ("ｎｖｉｄｉａ\0Ａ100\n\"x\"", "nvidia-100-x"),
        ]);
    }

    #[test]
    fn the_table_agrees_with_itself() {
        assert!(MODELS.is_sorted());
        for model in known() {
            assert_eq!(&*of_product(model), model);
        }
        for (spelling, model) in SPELLINGS {
            assert!(MODELS.contains(model), "{model} is a spelling of no model");
            assert_eq!(&*of_product(spelling), *model);
            assert!(
                spelling.split('-').skip(1).all(|word| !NOISE.contains(&word)),
                "{spelling} cannot be found"
            );
        }
    }

    fn names() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just("nvidia"),
            Just("Tesla"),
            Just("MIG"),
            Just("SHARED"),
            Just("PCIe"),
            Just("sxm4"),
            Just("hbm3"),
            Just("a100"),
            Just("80GB"),
            Just("1g.10gb"),
            Just("h100"),
            Just("v100"),
            Just("."),
        ];
        let spelt = prop::collection::vec((word, "[-_ ]{1,2}"), 0..8)
            .prop_map(|words| words.into_iter().fold(String::new(), |name, (word, gap)| name + word + &gap));
        prop_oneof![spelt, any::<String>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn the_model_of_a_model_is_itself(name in names()) {
            let model = of_product(&name);
            prop_assert_eq!(of_product(&model), model.clone());
            prop_assert!(model.starts_with("nvidia-"));
            prop_assert!(model.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)));
        }
    }
}
