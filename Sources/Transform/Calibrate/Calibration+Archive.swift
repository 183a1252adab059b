import Formats
import Foundation
import LinearAlgebra
import OrderedCollections

/// The archive of a calibration, described on the page `Calibration` of the documentation.
extension Calibration {
  /// The version of the archive that this reads and writes.
  package static let version = 2

  /// The calibration as arrays, to be written as `.npz`.
  public func archive() throws -> TensorArchive {
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
      guard let moments = site.moments else { continue }
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
  /// - Throws: `FormatError` when it is no archive of arrays, `TransformError` for whatever breaks
  ///   the rules of a calibration.
  public init(contentsOf path: String, access: InputFile.Access = .mapped) throws {
    let archive = try FormatRegistry.standard.open(path, access: access)
    do {
      try self.init(archive)
    } catch var error as TransformError {
      error.recipe = error.recipe ?? path
      throw error
    } catch let error as FormatError {
      throw error.located(path: path)
    }
  }

  /// Reads the statistics out of an archive in the layout of the page on calibration archives.
  ///
  /// - Throws: `TransformError` that names the site and its fault; `FormatError` on reading.
  public init(_ archive: TensorArchive) throws {
    func refused(_ reason: String) -> TransformError {
      TransformError(.invalidCalibration(reason: reason))
    }
    guard let tensor = archive.tensors["version"], tensor.elementType.isInteger,
      tensor.shape.elementCount == 1, let version = try tensor.doubleValues().first
    else {
      throw refused("it is no calibration: the array 'version' is missing")
    }
    guard version == Double(Self.version) else {
      let advice = version == 1 ? ": calibrate again" : ""
      let found = String(format: "%.0f", version)
      throw refused("version \(found) is not read, only \(Self.version)\(advice)")
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
      do {
        sites[name] = try SiteReader(tensors).statistics()
      } catch var error as TransformError {
        error.tensor = name
        throw error
      } catch let error as FormatError {
        throw error.located(tensor: name)
      }
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
      throw FormatError.malformed("the shape \(dimensions) is not possible")
    }
    return try Tensor(elementType: .float64, shape: shape, bytes: SharedBytes(elementsOf: values))
  }
}
