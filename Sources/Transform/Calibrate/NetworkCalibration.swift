import Formats
import Imaging
import Storage
import SuperResolution
import Synchronization

/// A calibration of a network on patches of images.
package struct NetworkCalibration: Sendable {
  package var network: SuperResolutionNetwork
  let images: ImageFolder
  let patches: CalibrationRecipe.Patches
  /// The bit widths at which a second run measures quantized inputs; empty for no second run.
  package var bitWidths: [Int]
  let search: BoundSearchMethod
  let scaling: ActivationScaling
  let threads: Int
  private let progress: @Sendable (_ doneCount: Int, _ count: Int) -> Void

  /// - Parameter progress: called after each patch, from any thread, with the number done and the
  ///   total.
  package init(
    network: SuperResolutionNetwork, images: ImageFolder, patches: CalibrationRecipe.Patches,
    bitWidths: [Int] = [], search: BoundSearchMethod, scaling: ActivationScaling, threads: Int,
    progress: @escaping @Sendable (_ doneCount: Int, _ count: Int) -> Void
  ) {
    self.network = network
    self.images = images
    self.patches = patches
    self.bitWidths = bitWidths
    self.search = search
    self.scaling = scaling
    self.threads = threads
    self.progress = progress
  }

  /// Runs the network and returns the statistics of its activations.
  ///
  /// - Throws: `ModelError` for networks without activations that can be quantized, for images that
  ///   cannot be used, and for values that are not finite.
  package func calibration() throws -> Calibration {
    guard !network.sites.isEmpty else {
      throw ModelError(
        "the inputs of convolutions cannot be quantized yet, and the network has no linear layers")
    }
    var sampler = PatchSampler(
      images, side: patches.side, seed: patches.seed, for: .calibration)
    let source = try NetworkActivations(
      network: network, images: sampler.drawVaried(patches.count))
    let count = (bitWidths.isEmpty ? 1 : 2) * patches.count
    let done = Mutex(0)
    return try Calibrator(
      bitWidths: bitWidths, search: search, scaling: scaling, threads: threads
    ).calibrate(source) {
      let doneCount = done.withLock { done in
        done += 1
        return done
      }
      progress(doneCount, count)
    }
  }
}
