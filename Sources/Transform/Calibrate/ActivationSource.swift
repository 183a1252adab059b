/// A place in a model whose values calibration looks at, and quantization rounds.
public struct ActivationSite: Hashable, Sendable {
  /// What the values at a site are in their layer.
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    /// What a linear layer or a convolution multiplies with its weight.
    case input
    /// Queries after their scaling, keys and values of an attention.
    case query, key, value
    /// An attention's weights, after the softmax.
    case probabilities
  }

  /// The module's name in the state dictionary and the kind: `layers.0.….attn.qkv.input`,
  /// `layers.0.….attn.query`. Activation quantizers of a packed file bear the same names.
  public let name: String
  /// What the values are; the name ends with it.
  public let kind: Kind
  /// The weight that multiplies an input: `layers.0.….attn.qkv.weight`.
  public let weightName: String?
  /// Values a row: a token's features. 1 where rows mean nothing.
  public let columnCount: Int

  public init(name: String, kind: Kind, weightName: String?, columnCount: Int) {
    self.name = name
    self.kind = kind
    self.weightName = weightName
    self.columnCount = columnCount
  }
}

/// A model that can be run on samples, and shows what flows through its layers meanwhile.
public protocol ActivationSource: Sendable {
  /// Places that can be looked at, in the order of the forward pass.
  var sites: [ActivationSite] { get }
  /// Samples that `run` takes, counted from 0.
  var sampleCount: Int { get }

  /// Runs the full-precision model on one sample.
  ///
  /// - Parameter observe: called with an index in `sites` and rows of `columnCount` values each,
  ///   once or several times a site, on the calling thread, always in the same order.
  func run(
    sample: Int, observe: (_ site: Int, _ values: UnsafeBufferPointer<Float>) throws -> Void) throws
}
