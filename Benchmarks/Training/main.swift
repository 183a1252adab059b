// Runs distillation steps on request: `training-benchmark SETTING THREADS` takes one step for each line
// of standard input, and answers with its seconds and its loss.
//
// SETTING is a safetensors file that `training.py` writes: the state dictionary, `benchmark.input`
// [images, channels, height, width], and the bounds of quantizers as in
// `Tests/Fixtures/makers/training.py`.

import Formats
import Glibc
import Imaging
import SuperResolution

struct Setting {
  var archive = TensorArchive()
  var images: [Image] = []
  var weights: [WeightQuantization] = []
  var activations: [ActivationQuantizer] = []

  init(path: String) throws {
    let file = try FormatRegistry.standard.open(path)
    var bounds: [(name: String, values: [Float])] = []
    for (name, tensor) in file.tensors {
      if name == "benchmark.input" {
        let (shape, values) = (tensor.shape.dimensions, try tensor.floatValues())
        let count = values.count / shape[0]
        images = (0..<shape[0]).map {
          Image(
            channelCount: shape[1], height: shape[2], width: shape[3],
            samples: Array(values[$0 * count..<($0 + 1) * count]))
        }
      } else if name.hasPrefix("bound.") {
        bounds.append((String(name.dropFirst("bound.".count)), try tensor.floatValues()))
      } else {
        archive.tensors[name] = tensor
      }
    }
    for (name, values) in bounds {
      guard let shape = archive.tensors[name]?.shape else {
        activations.append(
          ActivationQuantizer(name: name, bitWidth: 2, lower: values[0], upper: values[1]))
        continue
      }
      let cells = values.count / 2
      weights.append(
        WeightQuantization(
          name: name, layout: try AffineLayout(shape: shape, granularity: .tensor, parts: cells),
          bitWidth: 2, lower: (0..<cells).map { values[2 * $0] },
          scale: (0..<cells).map { values[2 * $0 + 1] }))
    }
  }
}

let arguments = CommandLine.arguments
guard arguments.count == 3, let threads = Int(arguments[2]), threads > 0 else {
  print("usage: training-benchmark SETTING THREADS")
  exit(2)
}
let setting = try Setting(path: arguments[1])
let rates = Dictionary(uniqueKeysWithValues: ParameterGroup.allCases.map { ($0, Float(1e-4)) })
var distillation = try Distillation(
  teacher: setting.archive, student: setting.archive, weights: setting.weights,
  activations: setting.activations, .init(optimizer: Adam(rates: rates), threads: threads))
let targets = try distillation.teach(setting.images)
let clock = ContinuousClock()
while readLine() != nil {
  var loss = 0.0
  let time = try clock.measure {
    loss = try distillation.differentiate(setting.images, targets).total
    distillation.update()
  }
  print(Double(time.components.seconds) + Double(time.components.attoseconds) * 1e-18, loss)
  fflush(nil)
}
