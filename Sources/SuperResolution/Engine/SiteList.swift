import Formats

/// The activation sites of a model, collected while its layers are created, in the order of the
/// forward pass.
struct SiteList {
  private(set) var sites: [ActivationSite] = []

  /// Returns the quantizer of each site; `nil` for those without one. Of two with one name, the last
  /// counts.
  func quantizers(among activations: [ActivationQuantizer]) -> [ActivationQuantizer?] {
    let byName = Dictionary(activations.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
    return sites.map { byName[$0.name] }
  }

  /// Adds the input of the layer `module` and returns its index.
  ///
  /// - Parameters:
  ///   - tapCount: the taps of a convolution; `nil` for a linear layer.
  ///   - origin: the tensors that can rescale these values, if there are any.
  mutating func addInput(
    of module: String, columnCount: Int, tapCount: Int? = nil,
    from origin: ActivationSite.Origin? = nil
  ) -> Int {
    add(
      module, .input, weightName: "\(module).weight", columnCount: columnCount,
      tapCount: tapCount, origin: origin)
  }

  /// Adds the sites inside the attention `module`.
  ///
  /// - Parameter comparesChannels: whether a head compares and mixes channels instead of tokens.
  mutating func addAttention(
    _ module: String, columnCount: Int, heads: Int, comparesChannels: Bool = false
  ) -> AttentionSites {
    let (compared, mixed) =
      comparesChannels ? (nil, columnCount / heads) : (columnCount / heads, nil)
    return AttentionSites(
      query: add(module, .query, columnCount: columnCount, headChannelCount: compared),
      key: add(module, .key, columnCount: columnCount, headChannelCount: compared),
      value: add(module, .value, columnCount: columnCount, headChannelCount: mixed),
      probabilities: add(module, .probabilities, columnCount: 1))
  }

  private mutating func add(
    _ module: String, _ kind: ActivationSite.Kind, weightName: String? = nil, columnCount: Int,
    tapCount: Int? = nil, headChannelCount: Int? = nil, origin: ActivationSite.Origin? = nil
  ) -> Int {
    let name = "\(module).\(kind.rawValue)"
    // A layer that is applied twice has one site.
    if let index = sites.firstIndex(where: { $0.name == name }) { return index }
    sites.append(
      ActivationSite(
        name: name, kind: kind, weightName: weightName,
        columnCount: columnCount, tapCount: tapCount, headChannelCount: headChannelCount,
        origin: origin))
    return sites.count - 1
  }
}

/// The indices of an attention's sites in the list of sites.
struct AttentionSites: Sendable {
  let query: Int
  let key: Int
  let value: Int
  let probabilities: Int
}
