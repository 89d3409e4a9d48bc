"""What a variant does to a protein: the words of MAF files, of Sequence Ontology and of Sanger in four classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from halfmax.data.tables import plain_name
from halfmax.errors import UnknownNameError

Effect = Literal["damaging", "missense", "silent", "noncoding"]
#: Classes from the gravest; `missense` holds every change of the protein that does not break it.
EFFECTS: tuple[Effect, ...] = ("damaging", "missense", "silent", "noncoding")
#: What makes a gene "mutated" unless said otherwise.
NON_SILENT: tuple[Effect, ...] = ("damaging", "missense")

_MAF: Mapping[Effect, str] = {
    "damaging": """Nonsense_Mutation Frame_Shift_Del Frame_Shift_Ins Splice_Site Splice_Site_SNP Splice_Site_DNP
        Splice_Site_Del Splice_Site_Ins Splice_Site_Indel Translation_Start_Site Nonstop_Mutation Read-through Indel
        De_novo_Start_OutOfFrame Start_Codon_SNP Start_Codon_Del Start_Codon_Ins Stop_Codon_Del Stop_Codon_Ins
        Nonsense Frameshift Splice Start_Codon_DNP Stop_Codon_DNP Nonstop Nonstart""",
    "missense": """Missense_Mutation Missense Missense_Variant In_Frame_Del In_Frame_Ins In_Frame_Indel
        De_novo_Start_InFrame""",
    "silent": "Silent Synonymous Synonymous_Mutation Splice_Region",
    "noncoding": """Intron IGR RNA lincRNA 3'UTR 5'UTR 3'Flank 5'Flank 5'Promoter Targeted_Region Intergenic UTR
        Non-coding_Transcript""",
}
# Sequence Ontology terms as Ensembl VEP, SnpEff and bcftools csq write them, and ANNOVAR's words.
_SO: Mapping[Effect, str] = {
    "damaging": """transcript_ablation splice_acceptor_variant splice_donor_variant stop_gained frameshift_variant
        stop_lost start_lost exon_loss_variant feature_truncation feature_ablation bidirectional_gene_fusion gene_fusion
        chromosome_number_variation rare_amino_acid_variant initiator_codon_variant stopgain stoploss startloss
        frameshift_insertion frameshift_deletion frameshift_substitution frameshift_block_substitution
        frameshift start_lost_variant splice_acceptor splice_donor""",
    "missense": """missense_variant inframe_insertion inframe_deletion protein_altering_variant
        disruptive_inframe_deletion disruptive_inframe_insertion conservative_inframe_deletion
        conservative_inframe_insertion conservative_missense_variant nonsynonymous_SNV nonframeshift_insertion
        nonframeshift_deletion nonframeshift_substitution nonframeshift_block_substitution inframe_altering""",
    "silent": """synonymous_variant synonymous_SNV stop_retained_variant start_retained_variant start_retained
        incomplete_terminal_codon_variant splice_region_variant splice_donor_5th_base_variant
        splice_donor_region_variant splice_polypyrimidine_tract_variant coding_sequence_variant""",
    "noncoding": """intron_variant intergenic_variant intergenic_region upstream_gene_variant downstream_gene_variant
        5_prime_UTR_variant 3_prime_UTR_variant 5_prime_UTR_premature_start_codon_gain_variant
        non_coding_transcript_variant non_coding_transcript_exon_variant non_coding_exon_variant nc_transcript_variant
        NMD_transcript_variant mature_miRNA_variant TF_binding_site_variant TFBS_ablation TFBS_amplification
        regulatory_region_variant regulatory_region_ablation regulatory_region_amplification intragenic_variant
        sequence_feature structural_interaction_variant transcript_amplification feature_elongation
        coding_transcript_variant sequence_variant conserved_intergenic_variant intergenic_region""",
}


# VAGrENT's words, in the files of Cell Model Passports, GDSC and COSMIC, as far as the tables above lack them.
_SANGER: Mapping[Effect, str] = {
    "damaging": "ess_splice 5prime_UTR_ess_splice 3prime_UTR_ess_splice cds_disrupted",
    "missense": "inframe complex_sub",
    "silent": "coding_silent",
    "noncoding": """intronic upstream downstream upstream_gene downstream_gene 3prime_UTR 5prime_UTR
        3prime_UTR_ess_splice_region 5prime_UTR_ess_splice_region nc_variant ncRNA non_coding""",
}

_BY_WORD: dict[str, Effect] = {
    plain_name(word): effect
    for table in (_MAF, _SO, _SANGER)
    for effect, words in table.items()
    for word in words.split()
}


def effect_of(word: str) -> Effect | None:
    """Return the class of a classification, however its parts are joined; None for a word that is not known."""
    return _BY_WORD.get(plain_name(word))


def gravest(words: str) -> Effect | None:
    """Return the gravest class among terms joined by ``&``, as VEP and SnpEff join them; None if no term is known."""
    found = {effect_of(word) for word in words.split("&")}
    return next((effect for effect in EFFECTS if effect in found), None)


def check_effects(effects: Collection[str]) -> tuple[Effect, ...]:
    """Return these classes in their order; raise UnknownNameError for a word that is none."""
    if not effects or (wrong := [e for e in effects if e not in EFFECTS]):
        raise UnknownNameError(
            f"effects are some of {', '.join(EFFECTS)}, not {', '.join(wrong) if effects else 'none'}."
        )
    return tuple(e for e in EFFECTS if e in effects)
