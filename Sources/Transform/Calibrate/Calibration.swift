import Formats
import Glibc
import LinearAlgebra
import OrderedCollections
import Storage

/// Statistics of a model's activations, by site.
package struct Calibration: Hashable, Sendable {
  /// The statistics by the names of `ActivationSite`, in the order of the forward pass.
  package var sites: OrderedDictionary<String, SiteStatistics>
  /// Free text on how they were made.
  package var metadata: OrderedDictionary<String, String>

  package init(
    sites: OrderedDictionary<String, SiteStatistics> = [:],
    metadata: OrderedDictionary<String, String> = [:]
  ) {
    self.sites = sites
    self.metadata = metadata
  }

  /// Returns the statistics of the input that the layer with this weight multiplies by it.
  package func input(ofWeight name: String) -> SiteStatistics? {
    Self.inputSite(ofWeight: name).flatMap { sites[$0] }
  }

  /// Returns `H = E[xxᵀ]` of that input, if its rows are as long as the weight's.
  package func moment(ofWeight name: String, columns: Int) -> Matrix? {
    guard let moments = input(ofWeight: name)?.moments, moments.columnCount == columns else {
      return nil
    }
    return moments.second
  }

  /// The sites whose bounds could be relative to rows if these had been recorded.
  package var sitesWithoutRows: [String] {
    sites.filter { $1.rows == nil && ActivationSite.Kind(ofSite: $0)?.hasRowScales == true }
      .map(\.key)
  }

  /// Returns the sites whose rows were not recorded at this granularity.
  package func sitesWithoutRows(for scaling: ActivationScaling) -> [String] {
    sites.filter { name, statistics in
      switch (ActivationSite.Kind(ofSite: name), scaling) {
      case (.input, .row), (.input, .group): statistics.rows?.scaling != scaling
      case (.probabilities, .row), (.probabilities, .group): statistics.rows?.scaling != .row
      default: false
      }
    }.map(\.key)
  }

  /// Returns the sites with moments of inputs that were quantized at another granularity.
  package func sitesMeasured(otherThan scaling: ActivationScaling) -> [String] {
    sites.filter { _, statistics in
      statistics.quantized.values.contains { $0.scaling != statistics.scaling(for: scaling) }
    }.map(\.key)
  }

  /// Returns the site of a weight's input: `layers.0.mlp.fc1.weight` → `layers.0.mlp.fc1.input`;
  /// `nil` for other names.
  package static func inputSite(ofWeight name: String) -> String? {
    guard name.hasSuffix(".weight") else { return nil }
    return "\(name.dropLast(".weight".count)).input"
  }

  /// Checks that every site belongs to a module of the model, and that moments fit its weight.
  ///
  /// - Parameter archive: every tensor of the model with its shape.
  /// - Throws: `ModelError` that names the first site that does not fit.
  package func check(against archive: TensorArchive) throws {
    var modules: Set<Substring> = []
    for name in archive.tensors.keys {
      var module = name[...]
      while let dot = module.lastIndex(of: ".") {
        module = module[..<dot]
        guard modules.insert(module).inserted else { break }
      }
    }
    for (name, statistics) in sites {
      func refused(_ reason: String) -> ModelError {
        ModelError(reason, tensor: name)
      }
      guard let kind = ActivationSite.Kind(ofSite: name) else {
        let kinds = ActivationSite.Kind.allCases.map(\.rawValue).joined(separator: ", ")
        throw refused("a site's name ends in one of \(kinds)")
      }
      let module = name.dropLast(kind.rawValue.count + 1)
      guard modules.contains(module) else {
        throw refused("the model has no module '\(module)'; was another model calibrated?")
      }
      let scalings = statistics.quantized.values.map(\.scaling)
      guard (scalings + (statistics.rows.map { [$0.scaling] } ?? [])).allSatisfy(kind.has) else {
        throw refused("the bounds of a \(kind) cannot be relative to rows")
      }
      guard kind == .input, let moments = statistics.moments else { continue }
      guard let weight = archive.tensors["\(module).weight"] else {
        throw refused("the model has no weight '\(module).weight'")
      }
      guard let columns = weight.shape.matrix?.columns else { continue }
      guard columns == moments.columnCount else {
        throw refused(
          "'\(module).weight' has \(columns) columns, but the calibrated inputs have "
            + "\(moments.columnCount)")
      }
    }
  }
}

/// The archive of a calibration, described on the page `Calibration` of the documentation.
extension Calibration {
  /// The version of the archives that this reads and writes.
  package static let version = 2

  /// Returns the calibration as arrays, to be written as `.npz`.
  package func archive() throws -> TensorArchive {
    var archive = TensorArchive(metadata: metadata)
    archive.tensors["version"] = try .integers([Self.version], .scalar)
    for (name, site) in sites {
      func add(_ field: String, _ values: [Double], _ shape: [Int]) throws {
        archive.tensors["\(name)/\(field)"] = try .reals(values, shape)
      }
      func add(_ field: String, _ matrix: Matrix) throws {
        try add(field, matrix.values, [matrix.rows, matrix.columns])
      }
      let histogram = site.histogram
      archive.tensors["\(name)/count"] = try .integers([site.count], .scalar)
      try add("range", [histogram.minimum, histogram.maximum], [2])
      archive.tensors["\(name)/histogram"] = try .integers(
        histogram.counts, [ActivationHistogram.binCount])
      try add("edges", [histogram.edges.lowerBound, histogram.edges.upperBound], [2])
      if let rows = site.rows { try add("row_histogram", rows.energies, [RowHistogram.binCount]) }
      if let size = site.groupSize {
        archive.tensors["\(name)/group_size"] = try .integers([size], .scalar)
      }
      if site.isAfterNormalization {
        archive.tensors["\(name)/is_after_normalization"] = try .integers([1], .scalar)
      }
      guard let moments = site.moments else { continue }
      if site.tapCount > 1 {
        archive.tensors["\(name)/tap_count"] = try .integers([site.tapCount], .scalar)
      }
      try add("mean", moments.mean, [moments.columnCount])
      try add("second_moment", moments.second)
      for (bits, images) in site.quantized.sorted(by: { $0.key < $1.key }) {
        try add("quantized/\(bits)/bounds", [Double(images.lower), Double(images.upper)], [2])
        if images.scaling != .tensor {
          archive.tensors["\(name)/quantized/\(bits)/is_row_scaled"] = try .integers([1], .scalar)
        }
        try add("quantized/\(bits)/mean", images.mean, [moments.columnCount])
        try add("quantized/\(bits)/second_moment", images.second)
        try add("quantized/\(bits)/cross_moment", images.cross)
      }
    }
    return archive
  }

  /// Reads a `.calib.npz` file.
  ///
  /// - Throws: `ModelError` when it is not an archive of arrays or violates the rules of a
  ///   calibration.
  package init(contentsOf path: String, access: InputFile.Access = .mapped) throws {
    let archive = try FormatRegistry.standard.open(path, access: access)
    self = try locatingErrors(path: path) { try Calibration(archive) }
  }

  /// Reads the statistics from an archive in the layout of the page on calibration archives.
  ///
  /// - Throws: `ModelError` that names the site and its fault.
  package init(_ archive: TensorArchive) throws {
    func refused(_ reason: String) -> ModelError { .malformed(reason) }
    guard let tensor = archive.tensors["version"], tensor.elementType.isInteger,
      tensor.shape.elementCount == 1, let version = try tensor.doubleValues().first
    else {
      throw refused("it is not a calibration: the array 'version' is missing")
        .offering(.calibration)
    }
    guard version == Double(Self.version) else {
      let advice = version == 1 ? ": calibrate again" : ""
      let found = String(printf: "%.0f", version)
      throw refused("version \(found) is not supported, only \(Self.version)\(advice)")
    }
    var fields: OrderedDictionary<String, [String: Tensor]> = [:]
    for (name, tensor) in archive.tensors where name != "version" {
      guard let slash = name.firstIndex(of: "/") else {
        throw refused("the array '\(name)' belongs to no site")
      }
      let field = String(name[name.index(after: slash)...])
      fields[String(name[..<slash]), default: [:]][field] = tensor
    }
    self.init(metadata: archive.metadata)
    for (name, tensors) in fields {
      sites[name] = try locatingErrors(tensor: name) { try SiteReader(tensors).statistics() }
    }
  }
}

extension Tensor {
  static func integers(_ values: [Int], _ shape: Shape) throws -> Tensor {
    try Tensor(
      elementType: .int64, shape: shape, bytes: SharedBytes(elementsOf: values.map(Int64.init)))
  }

  static func reals(_ values: [Double], _ dimensions: [Int]) throws -> Tensor {
    guard let shape = Shape(dimensions) else {
      throw ModelError.malformed("the shape \(dimensions) is not possible")
    }
    return try Tensor(elementType: .float64, shape: shape, bytes: SharedBytes(elementsOf: values))
  }
}
