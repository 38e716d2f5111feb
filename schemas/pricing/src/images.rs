//! The most tokens that a vendor counts for one image, whatever its size.

use crate::known_providers::ProviderFormat;

/// Anthropic scales an image down to 2,576 pixels on its long edge and counts at most 4,784 tokens; older models count at most 1,600.
/// Source: Anthropic's guide "Vision", section "Evaluate image size".
const CLAUDE: u64 = 4_784;
/// Google scales an image down to 3,072 x 3,072 pixels and counts 258 tokens for each tile of 768 x 768 pixels and for the whole; Gemini 3
/// counts at most 2,240. Source: Google's guide "Image understanding", section "Token calculation", and "Media resolution".
const GEMINI: u64 = 17 * 258;

/// Prefixes of OpenAI's models, longer ones before shorter ones, with the most tokens of an image. An image is scaled to 2,048 x 768
/// pixels, which are 8 tiles, each with its price and a base; or it has at most so many patches of 32 x 32 pixels, times a factor. Source:
/// OpenAI's guide "Images and vision", section "Calculating costs".
const OPENAI: [(&str, u64); 17] = [
    ("gpt-4o-mini", 2_833 + 8 * 5_667),
    ("gpt-4o", 85 + 8 * 170),
    ("chatgpt-4o", 85 + 8 * 170),
    // 1,536 patches, with the highest factor of the small models, 2.46.
    ("gpt-4.1-mini", 3_779),
    ("gpt-4.1-nano", 3_779),
    ("gpt-4.1", 85 + 8 * 170),
    ("gpt-4.5", 85 + 8 * 170),
    ("gpt-4-turbo", 85 + 8 * 170),
    ("o4-mini", 3_779),
    ("gpt-5-mini", 3_779),
    ("gpt-5-nano", 3_779),
    ("gpt-5-chat", 70 + 8 * 140),
    ("gpt-5.1", 70 + 8 * 140),
    // 10,000 patches with `detail: original`, with the factor of the small models.
    ("gpt-5", 24_600),
    ("gpt-6", 24_600),
    ("o1", 75 + 8 * 150),
    ("o3", 75 + 8 * 150),
];

/// Returns the most tokens of an image for a model at its vendor's own service; `None` if unknown.
#[must_use]
pub fn tokens_max(format: ProviderFormat, upstream_model: &str) -> Option<u64> {
    match format {
        ProviderFormat::OpenAi => OPENAI.iter().find(|(begin, _)| upstream_model.starts_with(begin)).map(|(_, tokens)| *tokens),
        ProviderFormat::Anthropic => upstream_model.starts_with("claude").then_some(CLAUDE),
        ProviderFormat::Gemini => upstream_model.starts_with("gemini").then_some(GEMINI),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_maximum() {
        for (format, model, tokens) in [
            (ProviderFormat::OpenAi, "gpt-4o-2024-11-20", Some(1_445)),
            (ProviderFormat::OpenAi, "gpt-4o-mini", Some(48_169)),
            (ProviderFormat::OpenAi, "gpt-5.4", Some(24_600)),
            (ProviderFormat::OpenAi, "llama", None),
            (ProviderFormat::Anthropic, "claude-sonnet-4-6", Some(4_784)),
            (ProviderFormat::Gemini, "gemini-2.5-pro", Some(4_386)),
        ] {
            assert_eq!(tokens_max(format, model), tokens, "{model}");
        }
    }
}
