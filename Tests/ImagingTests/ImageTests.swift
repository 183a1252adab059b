import Imaging
import Testing

@Suite struct ImageTests {
  @Test func sampleCountMatchesDimensions() {
    let image = Image(channelCount: 2, height: 1, width: 2, samples: [1, 2, 3, 4])
    #expect(image.samples.count == image.channelCount * image.height * image.width)
  }
}
