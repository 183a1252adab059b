/// A place in a model whose values are observed by calibration and rounded by quantization.
package struct ActivationSite: Hashable, Sendable {
  /// The role of a site's values in their layer.
  package enum Kind: String, Hashable, Sendable, CaseIterable {
    /// The values that a linear layer or a convolution multiplies by its weight.
    case input
    /// The scaled queries, the keys and the values of an attention. In a channel attention, queries
    /// and keys are normalized to a root mean square of 1 over all tokens.
    case query, key, value
    /// An attention's weights, after the softmax.
    case probabilities

    /// Whether bounds may be relative to each row's largest magnitude: that of a token's features
    /// at the input of a layer, or of a query's attention weights.
    package var hasRowScales: Bool { self == .input || self == .probabilities }

    /// Whether bounds may have this granularity; groups consist of a token's channels.
    package func has(_ scaling: ActivationScaling) -> Bool {
      switch scaling {
      case .tensor: true
      case .row: hasRowScales
      case .group: self != .probabilities
      }
    }

    /// Creates the kind that ends a site's name; `nil` for other names.
    package init?(ofSite name: String) {
      guard let dot = name.lastIndex(of: ".") else { return nil }
      self.init(rawValue: String(name[name.index(after: dot)...]))
    }
  }

  /// The module's name in the state dictionary and the kind: `layers.0.….attn.qkv.input`,
  /// `layers.0.….attn.query`. A packed file's activation quantizers have the same names.
  package let name: String
  /// The values' kind, which ends the name.
  package let kind: Kind
  /// The weight that multiplies an input: `layers.0.….attn.qkv.weight`.
  package let weightName: String?
  /// The number of values per row, such as a token's features; 1 if rows have no meaning.
  package let columnCount: Int
  /// The taps of the convolution whose input it is, of which rows are the pixels; `nil` for linear
  /// layers and inside attentions.
  package let tapCount: Int?
  /// The number of channels per head, if an attention sums products over them: for queries and keys
  /// when it compares tokens, for values when it mixes channels. A scale of a head of a token is
  /// then a common factor of the whole sum. `nil` elsewhere.
  package let headChannelCount: Int?
  /// The tensors that can scale and shift the values' channels; `nil` if there are none.
  package let origin: Origin?

  /// Tensors that the channels of an input are proportional to or shifted by.
  ///
  /// For a normalization, scaling applies to its scale and offset, and the offset shifts. For a
  /// depthwise convolution whose results are multiplied with others, scaling applies to its weight
  /// and bias, and nothing shifts.
  package struct Origin: Hashable, Sendable {
    /// The names of tensors with one entry per channel along the first axis; multiplying all of
    /// them multiplies the channel.
    package let scaledNames: [String]
    /// The name of the scaled tensor that is added to the channels, if any.
    package let offsetName: String?

    /// Whether the values come from a normalization.
    package var isNormalization: Bool { offsetName != nil }

    package init(scaledNames: [String], offsetName: String?) {
      self.scaledNames = scaledNames
      self.offsetName = offsetName
    }

    /// Returns the origin of a normalization with one scale and one offset per channel.
    package static func normalization(_ module: String) -> Origin {
      Origin(
        scaledNames: ["\(module).weight", "\(module).bias"], offsetName: "\(module).bias")
    }

    /// Returns the origin of a depthwise convolution whose result multiplies another.
    package static func gate(_ module: String) -> Origin {
      Origin(scaledNames: ["\(module).weight", "\(module).bias"], offsetName: nil)
    }
  }

  package init(
    name: String, kind: Kind, weightName: String?, columnCount: Int, tapCount: Int? = nil,
    headChannelCount: Int? = nil, origin: Origin? = nil
  ) {
    self.name = name
    self.kind = kind
    self.weightName = weightName
    self.columnCount = columnCount
    self.tapCount = tapCount
    self.headChannelCount = headChannelCount
    self.origin = origin
  }

  /// Returns the granularity to use when `scaling` is requested: attention weights use rows instead
  /// of groups, and values that are summed within heads use heads.
  package func nearest(to scaling: ActivationScaling) -> ActivationScaling {
    switch (kind, scaling) {
    case (.input, _), (_, .tensor): scaling
    case (.probabilities, _): .row
    case (.query, .group), (.key, .group), (.value, .group):
      if let count = headChannelCount, ActivationScaling.groupSizes.contains(count) {
        .group(count)
      } else {
        .tensor
      }
    case (_, .row): .tensor
    }
  }
}
