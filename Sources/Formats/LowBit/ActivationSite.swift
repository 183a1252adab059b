/// A place in a model whose values calibration looks at, and quantization rounds.
package struct ActivationSite: Hashable, Sendable {
  /// What the values at a site are in their layer.
  package enum Kind: String, Hashable, Sendable, CaseIterable {
    /// What a linear layer or a convolution multiplies with its weight.
    case input
    /// Queries after their scaling, keys and values of an attention. Of a channel attention, queries and
    /// keys are normalized to a root mean square of 1 over all tokens.
    case query, key, value
    /// An attention's weights, after the softmax.
    case probabilities

    /// Whether quantizers may measure bounds in each row's largest magnitude: of a token's features on
    /// their way into a layer, and of a query's attention weights.
    package var hasRowScales: Bool { self == .input || self == .probabilities }

    /// Whether quantizers may measure bounds in this: groups are of a token's channels.
    package func has(_ scaling: ActivationScaling) -> Bool {
      switch scaling {
      case .tensor: true
      case .row: hasRowScales
      case .group: self != .probabilities
      }
    }

    /// What a site's name ends in; `nil` for other names.
    package init?(ofSite name: String) {
      guard let dot = name.lastIndex(of: ".") else { return nil }
      self.init(rawValue: String(name[name.index(after: dot)...]))
    }
  }

  /// The module's name in the state dictionary and the kind: `layers.0.….attn.qkv.input`,
  /// `layers.0.….attn.query`. Activation quantizers of a packed file bear the same names.
  package let name: String
  /// What the values are; the name ends with it.
  package let kind: Kind
  /// The weight that multiplies an input: `layers.0.….attn.qkv.weight`.
  package let weightName: String?
  /// Values a row: a token's features. 1 where rows mean nothing.
  package let columnCount: Int
  /// Channels of a head, where an attention sums up products over them: of queries and keys, where tokens
  /// are compared, and of values, where channels are mixed. Products with what a head of a token is
  /// measured in are then one product of their sum. `nil` elsewhere.
  package let headChannelCount: Int?
  /// What can put the values out with other factors and offsets of the channels; `nil` where nothing
  /// can.
  package let origin: Origin?

  /// Tensors that the channels of an input are proportional to, or shifted by.
  ///
  /// A normalization's scale and offset are both scaled, and the offset is one; a convolution of each
  /// channel whose results are multiplied with others has a weight and a bias that are scaled, and no
  /// offset.
  package struct Origin: Hashable, Sendable {
    /// Names of tensors with an entry a channel along the first axis; the channel is multiplied when
    /// all of them are.
    package let scaledNames: [String]
    /// The one of them that is added to the channels; `nil` for none.
    package let offsetName: String?

    package init(scaledNames: [String], offsetName: String?) {
      self.scaledNames = scaledNames
      self.offsetName = offsetName
    }

    /// A normalization with a scale and an offset a channel.
    package static func normalization(_ module: String) -> Origin {
      Origin(
        scaledNames: ["\(module).weight", "\(module).bias"], offsetName: "\(module).bias")
    }

    /// A convolution of each channel with a filter of its own, by whose result another is multiplied.
    package static func gate(_ module: String) -> Origin {
      Origin(scaledNames: ["\(module).weight", "\(module).bias"], offsetName: nil)
    }
  }

  package init(
    name: String, kind: Kind, weightName: String?, columnCount: Int,
    headChannelCount: Int? = nil, origin: Origin? = nil
  ) {
    self.name = name
    self.kind = kind
    self.weightName = weightName
    self.columnCount = columnCount
    self.headChannelCount = headChannelCount
    self.origin = origin
  }

  /// What bounds are measured in where this was asked for: attention weights have rows in the place of
  /// groups, and what is summed up within heads has heads.
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
