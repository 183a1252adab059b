import ArgumentParser
import Formats
import Glibc
import Storage
import SuperResolution

/// Opens an upscaler: a model file, or `bicubic`.
enum UpscalerArgument {
  static let bicubic = "bicubic"

  /// Opens the network of a checkpoint or packed file, and returns it with its weights and the
  /// model's bytes on disk.
  ///
  /// - Parameters:
  ///   - name: the network's name in reports.
  ///   - root: the part of a nested checkpoint.
  ///   - usesIntegers: whether quantized layers are multiplied in integer arithmetic.
  static func open(
    _ path: String, name: String, root: String?, usesIntegers: Bool = true, common: CommonOptions
  ) throws -> (network: SuperResolutionNetwork, weights: TensorArchive, fileByteCount: Int) {
    let archive = try ModelArgument.open(path, root: root, common: common)
    let byteCount = try archive.sourceByteCount()
    func load(_ root: String?) throws -> SuperResolutionNetwork {
      try SuperResolutionNetwork(
        try root.map(archive.selecting) ?? archive, name: name, threads: common.threads,
        usesIntegers: usesIntegers)
    }
    return try locatingErrors(path: path) {
      let (network, part) = try firstThatRuns(archive, load: load)
      for remark in network.remarks { Console.note("\(path): \(remark)", unless: common.quiet) }
      let weights = try part.map {
        try ModelArgument.select($0, of: archive, path: path, common: common)
      }
      return (network, weights ?? archive, byteCount)
    }
  }

  /// Returns the preferred network, or the only other one of the file that can be run, with its
  /// root.
  ///
  /// - Throws: the error of the preferred network, with the roots of any others.
  private static func firstThatRuns(
    _ archive: TensorArchive, load: (String?) throws -> SuperResolutionNetwork
  ) throws -> (network: SuperResolutionNetwork, root: String?) {
    let roots = archive.networks.map(\.root)
    var failure: ModelError?
    var running: [(network: SuperResolutionNetwork, root: String?)] = []
    for (index, root) in roots.enumerated() {
      do {
        running.append((try load(root), root))
        if index == 0 { break }
      } catch let error as ModelError where error.isUnsuitable {
        failure = failure ?? error
      }
    }
    if running.count == 1 { return running[0] }
    guard running.isEmpty, let failure else {
      let names = running.compactMap(\.root).map { "'\($0)'" }.joined(separator: " and ")
      throw ModelError("the file holds several networks; --root selects one: \(names)")
    }
    guard let others = ModelArgument.networkList(of: archive, besides: roots[0]) else {
      throw failure
    }
    throw ModelError("\(failure.problem); --root selects another network: \(others)")
  }

  /// Returns the file's name without its extension: `swinir_light_x2`.
  static func name(of path: String) -> String { path.pathStem }
}
