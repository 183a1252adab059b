extension ModelReport {
  /// What the layers are ordered by. Layers without the quantity come last in either direction,
  /// and equal ones keep the file's order.
  public enum SortKey: Hashable, Sendable {
    /// The order of the file.
    case file
    /// The name, and the part behind it.
    case name
    /// A number of each layer.
    case metric(LayerMetric)

    /// The condition number.
    public static let condition = SortKey.metric(.condition)
  }

  static func sorted(
    _ layers: [LayerReport], by key: SortKey, isDescending: Bool
  ) -> [LayerReport] {
    switch key {
    case .file: isDescending ? layers.reversed() : layers
    case .name: sorted(layers, isDescending) { $0.title }
    case .metric(let metric): sorted(layers, isDescending) { metric.value(of: $0) }
    }
  }

  private static func sorted<Value: Comparable>(
    _ layers: [LayerReport], _ isDescending: Bool, by value: (LayerReport) -> Value?
  ) -> [LayerReport] {
    let keyed = layers.enumerated().map { (position: $0, value: value($1), layer: $1) }
    return keyed.sorted { left, right in
      switch (left.value, right.value) {
      case (let x?, let y?) where x != y: isDescending ? x > y : x < y
      case (.some, nil): true
      case (nil, .some): false
      default: left.position < right.position
      }
    }.map(\.layer)
  }
}

extension ModelReport.SortKey: RawRepresentable, CaseIterable {
  public static let allCases = [.file, .name] + LayerMetric.allCases.map { Self.metric($0) }

  public init?(rawValue: String) {
    switch rawValue {
    case "file": self = .file
    case "name": self = .name
    default:
      guard let metric = LayerMetric(rawValue: rawValue) else { return nil }
      self = .metric(metric)
    }
  }

  public var rawValue: String {
    switch self {
    case .file: "file"
    case .name: "name"
    case .metric(let metric): metric.rawValue
    }
  }
}
