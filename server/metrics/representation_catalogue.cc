#include "metrics/representation_catalogue.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <string>

namespace thermograd::metrics {
namespace {

// The names of one similarity, by scope.
#define THERMOGRAD_SIMILARITY_NAMES(stem) \
  { "thermograd_" stem, "thermograd_earlier_step_" stem, "thermograd_cross_run_" stem, nullptr }
// Of those that follow from moments too.
#define THERMOGRAD_MOMENT_SIMILARITY_NAMES(stem)                                       \
  {                                                                                    \
    "thermograd_" stem, "thermograd_earlier_step_" stem, "thermograd_cross_run_" stem, \
        "thermograd_window_" stem                                                      \
  }

constexpr SimilarityDefinition kSimilarityDefinitions[] = {
    {Similarity::kCka, THERMOGRAD_MOMENT_SIMILARITY_NAMES("cka_ratio"), "[0, 1]", "Linear CKA",
     "||Y'X||^2 / (||X'X|| ||Y'Y||), columns centred",
     "Kornblith et al. 2019, arXiv 1905.00414, eq. 5", "",
     "1: the same representation up to rotation and scale. Biased upwards for few samples or many "
     "features: trust the debiased form below some hundred samples."},
    {Similarity::kCkaUnbiased, THERMOGRAD_MOMENT_SIMILARITY_NAMES("cka_unbiased_ratio"),
     "about [-1, 1]", "Debiased linear CKA",
     "HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)), K = XX', L = YY', HSIC_1(K, L) = "
     "(tr(K~L~) + 1'K~1 1'L~1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K~L~1) / (n (n - 3)), diagonals "
     "of K~ and L~ zeroed",
     "Nguyen, Raghu, Kornblith 2021, arXiv 2010.15327, eq. 3; Song et al. 2012", "n >= 4",
     "Near zero for unrelated layers, whatever the number of samples; slightly negative values are "
     "noise. The figure to watch by default."},
    {Similarity::kCkaRbf, THERMOGRAD_SIMILARITY_NAMES("cka_rbf_ratio"), "[0, 1]", "RBF CKA",
     "HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), K_ij = exp(-|x_i - x_j|^2 / (2 sigma^2)), sigma^2 "
     "= f^2 times the median of all n^2 squared distances, the n zeros included; f = 0.5 unless "
     "declared. As in the authors' code; others leave the zeros out, or take f = 1",
     "Kornblith et al. 2019, arXiv 1905.00414, section 3",
     "not more than half of the distances zero",
     "Sees local and non-linear structure that linear CKA misses: the lower it is against the "
     "linear form, the more the likeness is one of a few dominant directions only."},
    {Similarity::kCkaRbfUnbiased, THERMOGRAD_SIMILARITY_NAMES("cka_rbf_unbiased_ratio"),
     "about [-1, 1]", "Debiased RBF CKA",
     "HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)), kernels as of RBF CKA",
     "Kornblith et al. 2019, arXiv 1905.00414; Song et al. 2012",
     "n >= 4; not more than half of the distances zero",
     "As RBF CKA, without the bias of few samples."},
    {Similarity::kCkaCalibrated, THERMOGRAD_SIMILARITY_NAMES("cka_calibrated_ratio"), "[0, 1]",
     "Linear CKA above chance level",
     "max(0, (s - tau) / (1 - tau)), s the biased linear CKA, tau its ceil(0.95 (m + 1))-th "
     "smallest value under m permutations of the samples of one side, 199 unless declared",
     "arXiv 2602.14486", "n >= 4 and m >= 19",
     "0: no more alike than chance would have it in 1 of 20 cases. The figure to quote when "
     "similarities of layers of different width or depth are compared."},
    {Similarity::kCkaCalibrated, THERMOGRAD_SIMILARITY_NAMES("cka_p_value_ratio"), "(0, 1]",
     "p-value of the linear CKA",
     "(1 + #{s_pi >= s}) / (m + 1), s the biased linear CKA, s_pi that of sample order pi on one "
     "side; the permutations are the same on every machine",
     "Phipson, Smyth 2010; arXiv 2602.14486", "n >= 4 and m >= 19",
     "Small: the likeness is no accident of few samples. It cannot fall below 1 / (m + 1)."},
    {Similarity::kMutualNeighbours, THERMOGRAD_SIMILARITY_NAMES("mutual_neighbours_ratio"),
     "[0, 1]", "Share of mutual nearest neighbours",
     "mean over i of |kNN_X(i) and kNN_Y(i)| / k, by cosine of uncentred rows, the sample itself "
     "excluded, of ties the lower index; k = 10 unless declared",
     "Huh et al. 2024, arXiv 2405.07987, appendix A", "k < n, no sample of norm zero",
     "Local agreement, the Platonic figure of the literature. Chance level is k / (n - 1); ties by "
     "index make many duplicates look alike."},
    {Similarity::kCknna, THERMOGRAD_SIMILARITY_NAMES("cknna_ratio"), "about [-1, 1]", "CKNNA",
     "a(X, Y) / sqrt(a(X, X) a(Y, Y)), a the HSIC_1 of the cosines with all but the pairs (i, j) "
     "zeroed where j is among the k nearest of i on both sides. The mean of the authors' cknna(X, "
     "Y) and cknna(Y, X), which differ a little, without the 1e-6 that they add to the denominator",
     "Huh et al. 2024, arXiv 2405.07987, appendix A", "2 <= k < n, n >= 4, no sample of norm zero",
     "CKA of the neighbourhoods only: between mutual neighbours, which forget distances, and CKA, "
     "which far samples dominate."},
    {Similarity::kCca, THERMOGRAD_MOMENT_SIMILARITY_NAMES("cca_mean_ratio"), "[0, 1]",
     "Mean canonical correlation",
     "sum rho_i / min(r_X, r_Y), rho_i the singular values of U_X' U_Y, X = U_X S_X V_X' centred, "
     "singular values below 2^-23 of the largest dropped; with a declared ridge kappa, those of "
     "(S_XX + kappa)^-1/2 S_XY (S_YY + kappa)^-1/2, kappa relative to the largest variance",
     "Raghu et al. 2017, arXiv 1706.05806; Vinod 1976",
     "rank below n - 1 on both sides, or a ridge",
     "Do the layers span the same features, however weighted? Invariant to every invertible map. "
     "Rises with (r_X + r_Y) / n by chance: take ten samples a feature, or declare a ridge, under "
     "which even X = Y stays below 1."},
    {Similarity::kCca, THERMOGRAD_MOMENT_SIMILARITY_NAMES("cca_mean_squared_ratio"), "[0, 1]",
     "Mean squared canonical correlation",
     "R^2_CCA = sum rho_i^2 / min(r_X, r_Y), rho_i as of the mean canonical correlation. The "
     "authors' notebook omits the centring that their paper asks for; here columns are centred",
     "Kornblith et al. 2019, arXiv 1905.00414, table 1",
     "rank below n - 1 on both sides, or a ridge",
     "The part of one layer's whitened variance that the other explains linearly."},
    {Similarity::kSvcca, THERMOGRAD_MOMENT_SIMILARITY_NAMES("svcca_ratio"), "[0, 1]", "SVCCA",
     "mean canonical correlation of the fewest principal components of each side with sum s_i^2 >= "
     "0.99 of all, or the declared fraction. Implementations that sum s_i instead of s_i^2, or do "
     "not centre, give other values",
     "Raghu et al. 2017, arXiv 1706.05806", "fewer components than n - 1 on both sides",
     "CCA without the directions of least variance, which are mostly noise."},
    {Similarity::kPwcca, THERMOGRAD_MOMENT_SIMILARITY_NAMES("pwcca_ratio"), "[0, 1]", "PWCCA",
     "sum alpha_i rho_i / sum alpha_i, alpha_i = sum_j |<h_i, x_j>| over the features x_j of the "
     "side of lower rank, h_i its canonical variates; for equal ranks the mean of both sides, "
     "where "
     "the authors' code takes X. The absolute values refer to neurons: unlike the others, it "
     "depends on rotations of the features",
     "Morcos, Raghu, Bengio 2018, arXiv 1806.05759", "rank below n - 1 on both sides",
     "CCA weighted by how much of the layer each direction makes."},
    {Similarity::kProcrustes, THERMOGRAD_MOMENT_SIMILARITY_NAMES("procrustes_ratio"), "[0, 1]",
     "Orthogonal Procrustes similarity",
     "||Y'X||_* / (||X|| ||Y||) = 1 - d^2 / 2, d the Procrustes distance of X and Y centred and "
     "scaled to norm 1. Others report d, d^2, or its arccosine",
     "Schoenemann 1966; Ding, Denain, Steinhardt 2021, arXiv 2108.01661", "",
     "How well the best rotation lays one layer on the other; sees small directions better than "
     "CKA, whose terms are squared."},
    {Similarity::kRepresentationalSimilarity, THERMOGRAD_SIMILARITY_NAMES("rsa_ratio"), "[-1, 1]",
     "Representational similarity (RSA)",
     "Spearman correlation of the n (n - 1) / 2 Euclidean distances between samples, ties at their "
     "mean rank. Not the correlation distance, which a rotation of the features would change",
     "Kriegeskorte, Mur, Bandettini 2008", "n >= 3, distances that are not all equal",
     "Do both sides order pairs of samples alike, whatever the scale of distances?"},
};

#undef THERMOGRAD_SIMILARITY_NAMES
#undef THERMOGRAD_MOMENT_SIMILARITY_NAMES

// How a scope continues a similarity's texts.
struct ScopeText {
  const char* object;
  const char* labels;
  const char* inputs;
  const char* meaning;
};

constexpr ScopeText kScopes[kSimilarityScopes] = {
    {" of two layers on the samples of the step.", "layer,other",
     "activations of both layers for the same samples", ""},
    {" of a layer with itself at the first step of the stream, or at the step before, in which the "
     "probe set was sent.",
     "layer,reference", "activations of a probe set in both steps",
     "Of reference previous: near 1, the layer has settled. Of reference first: how far it has "
     "come; when it stops falling, early layers may be frozen."},
    {" of a layer with a layer of another run on one probe set.", "layer,other_run,other_layer",
     "activations of a probe set in both runs",
     "The Platonic measurement: do two runs learn one representation?"},
    {" of two layers on all samples of the latest complete window.", "layer,other",
     "activations of both layers for the same samples of training batches; "
     "Reporting.similarity_over_window",
     "With more samples than a batch has: what CCA needs where layers are wider than batches."},
};

constexpr Definition kOtherDefinitions[] = {
    {"thermograd_cka_minibatch_ratio", Family::kRepresentationSimilarity, "1", "about [-1, 1]",
     "Minibatch CKA of two layers over the microbatches of the window.",
     "sum HSIC_1(K, L) / sqrt(sum HSIC_1(K, K) sum HSIC_1(L, L))",
     "Nguyen, Raghu, Kornblith 2021, arXiv 2010.15327, eq. 2", "layer,other",
     "activations of both layers for the same samples of training batches, n >= 4 in each "
     "microbatch",
     "CKA of the whole data set, seen a batch at a time; the window makes it smooth. When it drops "
     "for neighbouring layers, one of them has changed its features."},
    {"thermograd_cka_minibatch_hsic_sum", Family::kRepresentationSimilarity, "activation^4", "real",
     "Sum over the window of the microbatches' unbiased HSICs of the two layers, for exact "
     "aggregation.",
     "sum HSIC_1(K, L)", "Nguyen, Raghu, Kornblith 2021, arXiv 2010.15327, eq. 2", "layer,other",
     "as thermograd_cka_minibatch_ratio", "Divide sums, never average ratios."},
    {"thermograd_cka_minibatch_layer_hsic_sum", Family::kRepresentationSimilarity, "activation^4",
     "real",
     "Sum over the window of the microbatches' unbiased HSICs of the layer with itself, for exact "
     "aggregation.",
     "sum HSIC_1(K, K)", "Nguyen, Raghu, Kornblith 2021, arXiv 2010.15327, eq. 2", "layer,other",
     "as thermograd_cka_minibatch_ratio", "Divide sums, never average ratios."},
    {"thermograd_cka_minibatch_other_hsic_sum", Family::kRepresentationSimilarity, "activation^4",
     "real",
     "Sum over the window of the microbatches' unbiased HSICs of the other layer with itself, for "
     "exact aggregation.",
     "sum HSIC_1(L, L)", "Nguyen, Raghu, Kornblith 2021, arXiv 2010.15327, eq. 2", "layer,other",
     "as thermograd_cka_minibatch_ratio", "Divide sums, never average ratios."},
    {"thermograd_cross_run_maximum_cka_ratio", Family::kRepresentationSimilarity, "1", "[0, 1]",
     "Largest linear CKA of any layer with any layer of another run on one probe set.",
     "max over pairs of layers of the biased linear CKA", "arXiv 2602.14486", "probe_set,other_run",
     "activations of a probe set in both runs, n >= 4; calibrated CKA declared",
     "Not evidence by itself: it rises with the number of layers by chance. Read its p-value."},
    {"thermograd_cross_run_maximum_cka_calibrated_ratio", Family::kRepresentationSimilarity, "1",
     "[0, 1]", "Largest linear CKA between two runs above chance level.",
     "max(0, (s - tau) / (1 - tau)), s the maximum, tau as of thermograd_cka_calibrated_ratio with "
     "the maximum taken anew in each permutation",
     "arXiv 2602.14486", "probe_set,other_run",
     "activations of a probe set in both runs, n >= 4; calibrated CKA declared",
     "What is left of the best match of two runs once chance is taken off."},
    {"thermograd_cross_run_maximum_cka_p_value_ratio", Family::kRepresentationSimilarity, "1",
     "(0, 1]", "p-value of the largest linear CKA between two runs.",
     "(1 + #{s_pi >= s}) / (m + 1), s the maximum, taken anew in each permutation",
     "Phipson, Smyth 2010; arXiv 2602.14486", "probe_set,other_run",
     "activations of a probe set in both runs, n >= 4; calibrated CKA declared",
     "Small: the two runs share a representation somewhere."},
    {"thermograd_effective_rank", Family::kRepresentationSimilarity, "dimensions",
     "[1, min(n - 1, p)]", "Effective rank of the covariance of a layer's activations.",
     "exp(-sum p_k log p_k), p_k the normalised eigenvalues of the covariance. Roy and Vetterli "
     "take singular values of the matrix itself",
     "Roy, Vetterli 2007", "layer",
     "activations, n >= 2; of training batches every Reporting.spectrum_every_steps steps, shown "
     "until the next",
     "Falls when the representation collapses; sees small directions that the participation ratio "
     "and the stable rank pass over. A fall early in training calls for a smaller learning rate or "
     "normalisation."},
    {"thermograd_representation_participation_dimensions", Family::kRepresentationSimilarity,
     "dimensions", "[1, min(n - 1, p)]",
     "Participation ratio of the covariance of a layer's activations.",
     "(sum lambda)^2 / sum lambda^2", "Gao et al. 2017, bioRxiv 214262", "layer",
     "activations, n >= 2; of training batches every Reporting.spectrum_every_steps steps, shown "
     "until the next",
     "The number of directions that carry the variance. Far below the width: the layer is wider "
     "than its task needs, or collapsing."},
    {"thermograd_representation_stable_rank", Family::kRepresentationSimilarity, "dimensions",
     "[1, min(n - 1, p)]", "Stable rank of a layer's centred activations.",
     "||X||_F^2 / ||X||_2^2 = sum lambda / max lambda", "Rudelson, Vershynin 2007", "layer",
     "activations, n >= 2; of training batches every Reporting.spectrum_every_steps steps, shown "
     "until the next",
     "Near 1: one direction dominates, often a runaway neuron or a mean that training shifts."},
    {"thermograd_representation_mean_cosine_ratio", Family::kRepresentationSimilarity, "1",
     "[-1 / (n - 1), 1]", "Mean cosine of the activations of two different samples.",
     "(|sum x_i / |x_i||^2 - n) / (n (n - 1)), not centred",
     "Ethayarajh 2019, arXiv 1909.00512 (anisotropy)", "layer",
     "activations, n >= 2, no sample of norm zero; of training batches every "
     "Reporting.spectrum_every_steps steps, shown until the next",
     "Near 1: all samples point one way, and similarities by cosine mean little. Rising to 1 in "
     "training: collapse to a point."},
    {"thermograd_alignment_representation_gradient_ratio", Family::kRepresentationSimilarity, "1",
     "[0, 1]", "Alignment of a layer's activations with their gradients.",
     "tr(E[hh'] E[gg']) / (||E[hh']|| ||E[gg']||), second moments, not covariances",
     "Liu Ziyin, Chuang, Galanti, Poggio 2025, arXiv 2410.03006", "layer",
     "activations and activation gradients",
     "1: the canonical representation, where noise and decay balance. One of the three alignments "
     "broken: expect power laws between representation, weights and gradients instead."},
    {"thermograd_alignment_representation_weight_ratio", Family::kRepresentationSimilarity, "1",
     "[0, 1]", "Alignment of a layer's activations with the weights that write or read it.",
     "direction forward: cosine of E[hh'] and WW' of Layer.weight_id; backward: of E[hh'] and W'W "
     "of Layer.reader_weight_id",
     "Liu Ziyin, Chuang, Galanti, Poggio 2025, arXiv 2410.03006", "layer,direction",
     "activations and weights in one step; the theory's h of the forward relation is the layer's "
     "output before its nonlinearity",
     "Backward near 1 is the neural feature ansatz and, in the last layer, neural collapse."},
    {"thermograd_alignment_gradient_weight_ratio", Family::kRepresentationSimilarity, "1", "[0, 1]",
     "Alignment of the gradients of a layer's activations with the weights that write "
     "or read it.",
     "direction forward: cosine of E[gg'] and WW' of Layer.weight_id; backward: of E[gg'] and W'W "
     "of Layer.reader_weight_id",
     "Liu Ziyin, Chuang, Galanti, Poggio 2025, arXiv 2410.03006", "layer,direction",
     "activation gradients and weights in one step",
     "Neurons that matter most to the loss are those with the largest weights when it is near 1."},
};

}  // namespace

std::span<const SimilarityDefinition> DefinitionsOf(Similarity similarity) {
  const auto of = [similarity](const SimilarityDefinition& definition) {
    return definition.similarity == similarity;
  };
  const auto* const first =
      std::find_if(std::begin(kSimilarityDefinitions), std::end(kSimilarityDefinitions), of);
  const auto* const end = std::find_if_not(first, std::end(kSimilarityDefinitions), of);
  return {first, end};
}

std::vector<Definition> RepresentationDefinitions() {
  static std::deque<std::string> texts;  // what the definitions point to
  const auto keep = [](std::string text) { return texts.emplace_back(std::move(text)).c_str(); };
  std::vector<Definition> definitions;
  for (const SimilarityDefinition& of : kSimilarityDefinitions) {
    for (size_t scope = 0; scope < kSimilarityScopes; ++scope) {
      if (of.names[scope] == nullptr) continue;
      const ScopeText& text = kScopes[scope];
      const std::string needs = *of.needs == '\0' ? "" : std::string("; ") + of.needs;
      const bool first = scope == 0;
      definitions.push_back({.name = of.names[scope],
                             .family = Family::kRepresentationSimilarity,
                             .unit = "1",
                             .range = of.range,
                             .help = keep(std::string(of.subject) + text.object),
                             .formula = first ? of.formula : keep(std::string("as ") + of.names[0]),
                             .citation = of.citation,
                             .labels = text.labels,
                             .inputs = keep(text.inputs + needs),
                             .meaning = first ? of.meaning : text.meaning});
    }
  }
  definitions.insert(definitions.end(), std::begin(kOtherDefinitions), std::end(kOtherDefinitions));
  return definitions;
}

}  // namespace thermograd::metrics
