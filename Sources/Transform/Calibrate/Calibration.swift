import Formats
import LinearAlgebra
import OrderedCollections

/// What calibration learned of a model's activations, by site.
public struct Calibration: Hashable, Sendable {
  /// Statistics under the names of `ActivationSite`, in the order of the forward pass.
  public var sites: OrderedDictionary<String, SiteStatistics>
  /// How they were made; free text.
  public var metadata: OrderedDictionary<String, String>

  package init(
    sites: OrderedDictionary<String, SiteStatistics> = [:],
    metadata: OrderedDictionary<String, String> = [:]
  ) {
    self.sites = sites
    self.metadata = metadata
  }

  /// The statistics of what the layer with this weight multiplies with it.
  package func input(ofWeight name: String) -> SiteStatistics? {
    Self.inputSite(ofWeight: name).flatMap { sites[$0] }
  }

  /// `H = E[xxᵀ]` of that input, where it has as many values a row as the weight.
  package func moment(ofWeight name: String, columns: Int) -> Matrix? {
    guard let moments = input(ofWeight: name)?.moments, moments.columnCount == columns else {
      return nil
    }
    return moments.second
  }

  /// Sites whose bounds could be measured in rows, had these been recorded.
  package var sitesWithoutRows: [String] {
    sites.filter { $1.rows == nil && ActivationSite.Kind(ofSite: $0)?.hasRowScales == true }
      .map(\.key)
  }

  /// Sites whose rows were not recorded in what bounds would be measured in.
  package func sitesWithoutRows(for scaling: ActivationScaling) -> [String] {
    sites.filter { name, statistics in
      switch (ActivationSite.Kind(ofSite: name), scaling) {
      case (.input, .row), (.input, .group): statistics.rows?.scaling != scaling
      case (.probabilities, .row), (.probabilities, .group): statistics.rows?.scaling != .row
      default: false
      }
    }.map(\.key)
  }

  /// Sites that know how inputs are quantized within bounds measured in something else.
  package func sitesMeasured(otherThan scaling: ActivationScaling) -> [String] {
    sites.filter { _, statistics in
      statistics.quantized.values.contains { $0.scaling != statistics.scaling(for: scaling) }
    }.map(\.key)
  }

  /// `layers.0.mlp.fc1.weight` → `layers.0.mlp.fc1.input`; `nil` for names that end otherwise.
  package static func inputSite(ofWeight name: String) -> String? {
    guard name.hasSuffix(".weight") else { return nil }
    return "\(name.dropLast(".weight".count)).input"
  }

  /// Checks that every site belongs to a module of the model, and moments to its weight.
  ///
  /// - Parameter archive: every tensor of the model with its shape.
  /// - Throws: `TransformError` that names the first site that does not fit.
  public func check(against archive: TensorArchive) throws {
    var modules: Set<Substring> = []
    for name in archive.tensors.keys {
      var module = name[...]
      while let dot = module.lastIndex(of: ".") {
        module = module[..<dot]
        guard modules.insert(module).inserted else { break }
      }
    }
    for (name, statistics) in sites {
      func refused(_ reason: String) -> TransformError {
        TransformError(.invalidCalibration(reason: reason), tensor: name)
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
        throw refused("a \(kind) has no rows that bounds could be measured in")
      }
      guard kind == .input, let moments = statistics.moments else { continue }
      guard let weight = archive.tensors["\(module).weight"] else {
        throw refused("the model has no weight '\(module).weight'")
      }
      guard weight.shape.rank == 2, let columns = weight.shape.matrix?.columns else { continue }
      guard columns == moments.columnCount else {
        throw refused(
          "'\(module).weight' has \(columns) columns, the calibrated inputs \(moments.columnCount)")
      }
    }
  }
}
