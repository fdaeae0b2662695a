// The threshold as a slider and as a number.
import { store, tell, wantThreshold } from "review/store.js";

export default {
  template: `
    <div class="threshold" v-if="!store.labelling">
      <span>Threshold</span>
      <q-slider :model-value="store.threshold" :min="0.005" :max="1" :step="0.005" aria-label="Threshold"
        @update:model-value="wantThreshold" />
      <input type="number" min="0.001" max="1" step="0.005" aria-label="Threshold"
        :value="typed ?? Number(store.threshold.toFixed(3))" @input="typed = $event.target.value"
        @change="type" @blur="typed = null" />
    </div>`,
  // A number that is half typed stays when the server tells another threshold meanwhile.
  data: () => ({ store, typed: null }),
  methods: {
    wantThreshold,
    type(event) {
      const value = event.target.valueAsNumber;
      this.typed = null;
      if (value > 0 && value <= 1) return wantThreshold(value);
      tell("The threshold must be above 0 and at most 1.");
      event.target.value = Number(store.threshold.toFixed(3));
    },
  },
};
