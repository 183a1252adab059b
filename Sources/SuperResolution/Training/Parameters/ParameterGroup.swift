/// A kind of parameter. Each kind has a learning rate of its own, or is not learned.
package enum ParameterGroup: String, Hashable, Sendable, CaseIterable {
  /// Lower and upper bounds of activation quantizers.
  case activationBounds
  /// Lower bounds and scales of quantized weights.
  case weightBounds
  /// The real numbers from which quantized weights are rounded. Packed files contain only codes, so
  /// learning these numbers does not increase the size.
  case latentWeights
  /// Biases of linear layers and convolutions.
  case biases
  /// Scales and offsets of normalizations.
  case norms
  /// Position biases, temperatures, and weights that are not quantized.
  case others
}
