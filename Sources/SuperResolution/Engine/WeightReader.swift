import Formats
import Storage

/// Reads tensors from an archive by the names and shapes that an architecture expects.
///
/// The reader records which tensors were taken, so that none is ignored silently.
struct WeightReader {
  let archive: TensorArchive
  private(set) var taken: Set<String> = []
  /// The number of elements of all parameters that were read.
  var valueCount = 0

  init(_ archive: TensorArchive) {
    self.archive = archive
  }

  func contains(_ name: String) -> Bool { archive.tensors[name] != nil }

  /// Returns the dimensions of a tensor that determines a part of the configuration.
  ///
  /// - Throws: `WeightMismatch` when it is missing, has another rank or a dimension of zero.
  func dimensions(of name: String, rank: Int) throws -> [Int] {
    guard let tensor = archive.tensors[name] else {
      throw WeightMismatch(tensor: name, problem: "is missing")
    }
    let dimensions = tensor.shape.dimensions
    guard dimensions.count == rank, !dimensions.contains(0) else {
      throw WeightMismatch(
        tensor: name, problem: "has the shape \(dimensions), expected \(rank) axes")
    }
    return dimensions
  }

  /// Takes a tensor without reading it.
  ///
  /// - Throws: `WeightMismatch` when it is missing or has another shape.
  @discardableResult
  mutating func take(_ name: String, _ shape: [Int]) throws -> Tensor {
    guard let tensor = archive.tensors[name] else {
      throw WeightMismatch(tensor: name, problem: "is missing")
    }
    guard tensor.shape.dimensions == shape else {
      throw WeightMismatch(
        tensor: name, problem: "has the shape \(tensor.shape.dimensions), expected \(shape)")
    }
    taken.insert(name)
    return tensor
  }

  /// Returns the elements of a tensor. Those of codes are as layers multiply them, in Float32: not rounded
  /// again to the type of the original tensor.
  ///
  /// - Throws: `WeightMismatch` as `take` does, `ModelError` when it cannot be read.
  mutating func values(_ name: String, _ shape: [Int]) throws -> [Float] {
    let tensor = try take(name, shape)
    return try locatingErrors(tensor: name) {
      try tensor.quantized?().floatValues() ?? tensor.floatValues()
    }
  }

  /// Returns the number of layers with names such as `layers.0.…` that contain `probe`.
  func count(_ prefix: String, probe: String) -> Int {
    var count = 0
    while contains("\(prefix).\(count).\(probe)") { count += 1 }
    return count
  }

  /// Checks that every tensor was taken, except for buffers that networks recompute and the
  /// counters of training tools.
  ///
  /// - Parameter derived: the last components of the buffers' names.
  func finish(ignoring derived: Set<String>) throws {
    for name in archive.tensors.keys where !taken.contains(name) {
      let last = name.split(separator: ".").last.map(String.init) ?? name
      guard derived.contains(last) || TensorArchive.counterNames.contains(last) else {
        throw WeightMismatch(tensor: name, problem: "has no place in it")
      }
    }
  }
}

/// The first tensor in which a checkpoint differs from an architecture.
struct WeightMismatch: Error, Hashable {
  let tensor: String
  /// The rest of a sentence that starts with the tensor's name.
  let problem: String
}
