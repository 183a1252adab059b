/// Kinds of parameters, which are learned at rates of their own or not at all.
enum ParameterGroup: String, Hashable, Sendable, CaseIterable {
  /// Lower and upper bounds of activation quantizers.
  case activationBounds
  /// Lower bounds and scales of quantized weights.
  case weightBounds
  /// The real numbers that quantized weights are rounded from. Packed files hold codes alone, so
  /// learning them costs nothing in size.
  case latentWeights
  /// Biases of linear layers and convolutions.
  case biases
  /// Scales and offsets of normalizations.
  case norms
  /// Position biases, temperatures, and weights that are not quantized.
  case others
}
