import ArgumentParser
import Formats
import SuperResolution

/// What `export` writes for: a network of ncnn, or a form of weights, of which ONNX has networks as well.
enum ExportRuntime: Hashable, ExpressibleByArgument {
  case ncnn
  case weights(ExportTarget)

  static let all = ExportTarget.allCases.map(ExportRuntime.weights) + [.ncnn]

  var name: String {
    switch self {
    case .ncnn: NCNNFormat().identifier.name
    case .weights(let target): target.rawValue
    }
  }

  init?(argument: String) {
    guard let runtime = Self.all.first(where: { $0.name == argument }) else { return nil }
    self = runtime
  }

  /// The runtime of files with an extension.
  init?(pathExtension: String) {
    if NCNNFormat().identifier.fileExtensions.contains(pathExtension) {
      self = .ncnn
    } else if let target = ExportTarget(rawValue: pathExtension), target != .mlx {
      self = .weights(target)
    } else {
      return nil
    }
  }
}

extension NCNNPrecision: ExpressibleByArgument {}
